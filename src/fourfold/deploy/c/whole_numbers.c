
/* Numbers of four components, those of an input number side by side in four bytes. Four entries' inputs joined: fours_4, with the
 * bytes of a component together; weights of one component: weights_4; the four sums of a component: sums_4. A sum of whole
 * numbers of all four: all_sums_4. A single entry is four of which three have weights of zero. */
#if LANES >= 8 && defined(__AVX2__)
#define NUMBERS_4
typedef __m128i sums_4, fours_4, weights_4, all_weights_4;
typedef struct {
    __m256i first, second; /* of two components each */
} all_sums_4;
INLINE sums_4 no_sums_4(void) { return _mm_setzero_si128(); }
INLINE all_sums_4 no_all_sums_4(void) { return (all_sums_4){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE int32_t four_bytes(const void *from)
{
    int32_t four;
    memcpy(&four, from, sizeof four);
    return four;
}
INLINE fours_4 join_4(const uint8_t *one, const uint8_t *other, const uint8_t *third, const uint8_t *fourth)
{
    const __m128i low = _mm_insert_epi32(_mm_cvtsi32_si128(four_bytes(one)), four_bytes(other), 1);
    const __m128i high = _mm_insert_epi32(_mm_cvtsi32_si128(four_bytes(third)), four_bytes(fourth), 1);
    const __m128i by_component = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm_shuffle_epi8(_mm_unpacklo_epi64(low, high), by_component);
}
INLINE weights_4 weights_of_4(const int8_t *weight) { return _mm_set1_epi32(four_bytes(weight)); }
INLINE weights_4 weight_of_4(const int8_t *weight) { return _mm_set1_epi32((uint8_t)*weight); }
INLINE sums_4 gain_4(sums_4 sums, fours_4 fours, weights_4 weights)
{
#if defined(DOTS_32)
    return _mm_dpbusd_epi32(sums, fours, weights);
#else
    return _mm_add_epi32(sums, _mm_madd_epi16(_mm_maddubs_epi16(fours, weights), _mm_set1_epi16(1)));
#endif
}
INLINE all_weights_4 all_weights_of_4(const int8_t *weight) { return _mm_loadu_si128((const void *)weight); }
INLINE all_weights_4 all_weight_of_4(const int8_t *weight) { return _mm_cvtsi32_si128(four_bytes(weight)); }
INLINE __m256i gain_two_4(__m256i sums, __m256i fours, __m256i weights)
{
#if defined(DOTS_32)
    return _mm256_dpbusd_epi32(sums, fours, weights);
#else
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(fours, weights), _mm256_set1_epi16(1)));
#endif
}
INLINE all_sums_4 gain_all_4(all_sums_4 sums, fours_4 fours, all_weights_4 weights)
{
    const __m256i both = _mm256_broadcastsi128_si256(fours), all = _mm256_broadcastsi128_si256(weights);
    const int32_t first = 0x0c080400, step = 0x01010101; /* the places of a component's four weights */
    const __m256i places = _mm256_setr_epi32(first, first, first, first, first + step, first + step, first + step, first + step);
    const __m256i more = _mm256_add_epi8(places, _mm256_set1_epi8(2));
    sums.first = gain_two_4(sums.first, both, _mm256_shuffle_epi8(all, places));
    sums.second = gain_two_4(sums.second, both, _mm256_shuffle_epi8(all, more));
    return sums;
}
#elif LANES == 4 && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)
#define NUMBERS_4
typedef four_totals sums_4, weights_4;
typedef struct {
    four_totals of[4];
} fours_4, all_sums_4, all_weights_4;
INLINE sums_4 no_sums_4(void) { return (sums_4){0}; }
INLINE all_sums_4 no_all_sums_4(void) { return (all_sums_4){{{0}, {0}, {0}, {0}}}; }
INLINE four_totals number_at(const uint8_t *from) { return (four_totals){from[0], from[1], from[2], from[3]}; }
INLINE fours_4 join_4(const uint8_t *one, const uint8_t *other, const uint8_t *third, const uint8_t *fourth)
{
    return (fours_4){{number_at(one), number_at(other), number_at(third), number_at(fourth)}};
}
INLINE weights_4 weights_of_4(const int8_t *weight) { return (weights_4){weight[0], weight[1], weight[2], weight[3]}; }
INLINE weights_4 weight_of_4(const int8_t *weight) { return (weights_4){*weight}; }
INLINE sums_4 gain_4(sums_4 sums, fours_4 fours, weights_4 weights)
{
    UNROLL
    for (int entry = 0; entry < 4; entry++)
        sums += fours.of[entry] * weights[entry];
    return sums;
}
INLINE all_weights_4 all_weight_of_4(const int8_t *weight) { return (all_weights_4){{weights_of_4(weight), {0}, {0}, {0}}}; }
INLINE all_weights_4 all_weights_of_4(const int8_t *weight)
{
    return (all_weights_4){{weights_of_4(weight), weights_of_4(weight + 4), weights_of_4(weight + 8), weights_of_4(weight + 12)}};
}
INLINE all_sums_4 gain_all_4(all_sums_4 sums, fours_4 fours, all_weights_4 weights)
{
    UNROLL
    for (int entry = 0; entry < 4; entry++)
        for (int component = 0; component < 4; component++)
            sums.of[component] += fours.of[entry] * weights.of[entry][component];
    return sums;
}
#endif
