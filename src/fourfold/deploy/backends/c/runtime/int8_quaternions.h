
/* Numbers of four components, those of an input number side by side in four bytes. Four entries' inputs joined: fours_4, with the
 * bytes of a component together; weights of one component: weights_4; the four sums of a component: sums_4. A sum of entire
 * elements: all_sums_4. A single entry is four of which three have weights of zero. */
#if LANES >= 4 && defined(__SSSE3__)
#define NUMBERS_4
#define ALL_NUMBERS_4
typedef __m128i sums_4, fours_4, weights_4, all_weights_4;
typedef struct {
    sums_4 of[4]; /* by component of the weights */
} all_sums_4;
INLINE sums_4 no_sums_4(void) { return _mm_setzero_si128(); }
INLINE all_sums_4 no_all_sums_4(void) { return (all_sums_4){{no_sums_4(), no_sums_4(), no_sums_4(), no_sums_4()}}; }
INLINE __m128i four_bytes(const void *from)
{
    int32_t four;
    memcpy(&four, from, sizeof four);
    return _mm_cvtsi32_si128(four);
}
INLINE fours_4 join_4(const uint8_t *one, const uint8_t *other, const uint8_t *third, const uint8_t *fourth)
{
    const __m128i low = _mm_unpacklo_epi32(four_bytes(one), four_bytes(other));
    const __m128i high = _mm_unpacklo_epi32(four_bytes(third), four_bytes(fourth));
    const __m128i by_component = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm_shuffle_epi8(_mm_unpacklo_epi64(low, high), by_component);
}
INLINE weights_4 weights_of_4(const int8_t *weight) { return _mm_shuffle_epi32(four_bytes(weight), 0); }
INLINE weights_4 weight_of_4(const int8_t *weight) { return _mm_set1_epi32((uint8_t)*weight); }
INLINE sums_4 gain_4(sums_4 sums, fours_4 fours, weights_4 weights)
{
#if defined(DOTS_32)
    return _mm_dpbusd_epi32(sums, fours, weights);
#else
    return _mm_add_epi32(sums, _mm_madd_epi16(_mm_maddubs_epi16(fours, weights), _mm_set1_epi16(1)));
#endif
}
INLINE all_weights_4 all_weights_of_4(const int8_t *weight) { return _mm_loadu_si128((const __m128i *)weight); }
INLINE all_weights_4 all_weight_of_4(const int8_t *weight) { return four_bytes(weight); }
INLINE all_sums_4 gain_all_4(all_sums_4 sums, fours_4 fours, all_weights_4 weights)
{
    UNROLL
    for (int component = 0; component < 4; component++) {
        const __m128i places = _mm_set1_epi32(0x0c080400 + component * 0x01010101);
        sums.of[component] = gain_4(sums.of[component], fours, _mm_shuffle_epi8(weights, places));
    }
    return sums;
}
#elif LANES == 4 && ((defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)) || defined(__wasm_simd128__))
#define NUMBERS_4
#define ALL_NUMBERS_4
typedef four_totals sums_4, weights_4;
typedef struct {
    four_totals of[4];
} fours_4, all_sums_4, all_weights_4;
INLINE sums_4 no_sums_4(void) { return (sums_4){0}; }
INLINE all_sums_4 no_all_sums_4(void) { return (all_sums_4){{{0}, {0}, {0}, {0}}}; }
#if defined(__wasm_simd128__)
INLINE four_totals number_at(const uint8_t *from)
{
    return (four_totals)wasm_u32x4_extend_low_u16x8(wasm_u16x8_extend_low_u8x16(wasm_v128_load32_zero(from)));
}
#else
INLINE four_totals number_at(const uint8_t *from) { return (four_totals){from[0], from[1], from[2], from[3]}; }
#endif
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
#elif LANES == 1 && defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HALVES
/* Without vectors, a register has room for two sums of 16 bits: of bytes 0 and 2 of four, or of 1 and 3. One product adds to both;
 * what the lower sum borrows from the upper one, it gives back when they are read. */
INLINE uint32_t four_bytes(const uint8_t *from)
{
    uint32_t four;
    memcpy(&four, __builtin_assume_aligned(from, 4), sizeof four);
    return four;
}
INLINE uint32_t bytes_0_and_2(void)
{
    uint32_t mask = 0x00ff00ff;
    __asm__("" : "+r"(mask)); /* in a register: shifting, and masking by a constant, are two instructions */
    return mask;
}
#define MOVED(pointer) __asm__("" : "+r"(pointer)) /* it goes on from run to run: compilers else count it anew for each */
INLINE int32_t lower_sum(uint32_t sums) { return (int16_t)sums; }
INLINE int32_t upper_sum(uint32_t sums) { return (int32_t)(sums + 0x8000) >> 16; }
#endif
