
#if LANES >= 8 && defined(__AVX2__)
/* Numbers of four components, those of the input side by side in four bytes. */
#define NUMBERS_4
typedef __m128i sums_4, both_4;
INLINE sums_4 no_sums_4(void) { return _mm_setzero_si128(); }
INLINE both_4 join_4(const uint8_t *one, const uint8_t *other)
{
    int32_t first, second;
    memcpy(&first, one, sizeof first);
    memcpy(&second, other, sizeof second);
    return _mm_cvtepu8_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(first), _mm_cvtsi32_si128(second)));
}
INLINE both_4 weights_4(int8_t first, int8_t second)
{
    return _mm_set1_epi32((int32_t)((uint32_t)second << 16 | (uint16_t)first));
}
INLINE both_4 both_weights_4(const int8_t *weight)
{
    int16_t both;
    memcpy(&both, weight, sizeof both);
    return _mm_cvtepi8_epi16(_mm_set1_epi16(both));
}
INLINE sums_4 gain_4(sums_4 sums, both_4 pair, both_4 weights)
{
#if defined(DOTS_32)
    return _mm_dpwssd_epi32(sums, pair, weights);
#else
    return _mm_add_epi32(sums, _mm_madd_epi16(pair, weights));
#endif
}
#elif LANES == 4 && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)
#define NUMBERS_4
typedef four_totals sums_4;
typedef struct {
    four_totals first, second;
} both_4;
INLINE sums_4 no_sums_4(void) { return (sums_4){0}; }
INLINE four_totals number_at(const uint8_t *from) { return (four_totals){from[0], from[1], from[2], from[3]}; }
INLINE both_4 join_4(const uint8_t *one, const uint8_t *other) { return (both_4){number_at(one), number_at(other)}; }
INLINE both_4 weights_4(int8_t first, int8_t second)
{
    return (both_4){{first, first, first, first}, {second, second, second, second}};
}
INLINE both_4 both_weights_4(const int8_t *weight) { return weights_4(weight[0], weight[1]); }
INLINE sums_4 gain_4(sums_4 sums, both_4 pair, both_4 weights)
{
    return sums + pair.first * weights.first + pair.second * weights.second;
}
#endif
