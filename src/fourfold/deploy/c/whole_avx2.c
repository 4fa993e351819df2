
#if LANES >= 8 && defined(__AVX2__)
#include <immintrin.h>
/* 32 pixels: of each half of 16, the words of pixels 0–7 are in `low` and those of 8–15 in `high`. */
typedef struct {
    __m256i low, high;
} pair_32;
typedef pair_32 words_32;
typedef struct {
    __m256i of[4]; /* pixels 0–7, 8–15, 16–23, 24–31 */
} totals_32;
enum { lanes_32 = 32 };
INLINE words_32 no_words_32(void) { return (words_32){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE totals_32 no_totals_32(void)
{
    const __m256i none = _mm256_setzero_si256();
    return (totals_32){{none, none, none, none}};
}
INLINE pair_32 join_32(const uint8_t *first, const uint8_t *second)
{
    const __m256i a = _mm256_loadu_si256((const __m256i *)first), b = _mm256_loadu_si256((const __m256i *)second);
    return (pair_32){_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};
}
INLINE __m256i weights_32(const int8_t *weight)
{
    int16_t both;
    memcpy(&both, weight, sizeof both);
    return _mm256_set1_epi16(both);
}
INLINE words_32 gain_32(words_32 words, pair_32 pair, const int8_t *weight)
{
    const __m256i by = weights_32(weight);
    words.low = _mm256_add_epi16(words.low, _mm256_maddubs_epi16(pair.low, by));
    words.high = _mm256_add_epi16(words.high, _mm256_maddubs_epi16(pair.high, by));
    KEEP(words.low);
    KEEP(words.high);
    return words;
}
INLINE words_32 lose_32(words_32 words, pair_32 pair, const int8_t *weight)
{
    const __m256i by = weights_32(weight);
    words.low = _mm256_sub_epi16(words.low, _mm256_maddubs_epi16(pair.low, by));
    words.high = _mm256_sub_epi16(words.high, _mm256_maddubs_epi16(pair.high, by));
    KEEP(words.low);
    KEEP(words.high);
    return words;
}
INLINE __m256i widen_32(__m256i total, __m128i words) { return _mm256_add_epi32(total, _mm256_cvtepi16_epi32(words)); }
INLINE void flush_32(totals_32 *totals, words_32 *words)
{
    totals->of[0] = widen_32(totals->of[0], _mm256_castsi256_si128(words->low));
    totals->of[1] = widen_32(totals->of[1], _mm256_castsi256_si128(words->high));
    totals->of[2] = widen_32(totals->of[2], _mm256_extracti128_si256(words->low, 1));
    totals->of[3] = widen_32(totals->of[3], _mm256_extracti128_si256(words->high, 1));
    words->low = words->high = _mm256_setzero_si256();
}
INLINE __m256i levels_32(__m256i total, int32_t bias, float factor)
{
    const __m256 sums = _mm256_cvtepi32_ps(_mm256_add_epi32(total, _mm256_set1_epi32(bias)));
    return _mm256_cvttps_epi32(_mm256_min_ps(_mm256_mul_ps(sums, _mm256_set1_ps(factor)), _mm256_set1_ps(255)));
}
INLINE void store_32(uint8_t *to, totals_32 totals, words_32 words, int32_t bias, float factor, int largest)
{
    __m256i level[4];
    (void)words;
    for (int i = 0; i < 4; i++)
        level[i] = levels_32(totals.of[i], bias, factor);
    /* Packing takes four numbers of each half in turn; the permutation brings them back into their order. */
    const __m256i words_of = _mm256_packs_epi32(level[0], level[1]), more = _mm256_packs_epi32(level[2], level[3]);
    const __m256i mixed = _mm256_packus_epi16(words_of, more);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i levels = _mm256_min_epu8(_mm256_permutevar8x32_epi32(mixed, order), _mm256_set1_epi8((char)largest));
    _mm256_storeu_si256((__m256i *)to, levels);
}

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
INLINE sums_4 gain_4(sums_4 sums, both_4 pair, both_4 weights) { return _mm_add_epi32(sums, _mm_madd_epi16(pair, weights)); }
#define CAP32(name) name##_32
#endif
