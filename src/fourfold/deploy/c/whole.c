/* A layer's sum as a level: cut to a whole number, from 0 to `largest`. No sum of products of floats, which some machines
 * round once and others twice: so all give the same level. */
INLINE uint8_t level_of(int32_t sum, float factor, int largest)
{
    const float scaled = (float)sum * factor;
    return (uint8_t)(scaled > 0 ? scaled < largest ? scaled : largest : 0);
}

/* A level from a sum of whole-number factors. */
INLINE uint8_t level_from(int32_t level, int largest)
{
    return (uint8_t)(level < 0 ? 0 : level > largest ? largest : level);
}

/* Move to the runs behind those of some lists, and count the pairs on the way. */
INLINE uint32_t skip_runs(const uint8_t **run, int lists)
{
    uint32_t pairs = 0;
    while (lists > 0) {
        const uint8_t length = *(*run)++;
        pairs += length % 128;
        lists -= length == 0;
    }
    return pairs;
}

/* Two entries' inputs, joined: pair_N; sums that several pairs fit into: words_N; sums of those: totals_N. */
typedef struct {
    int32_t first, second;
} pair_1;
typedef int32_t words_1;
typedef char totals_1; /* nothing: the words hold as much */
INLINE words_1 no_words_1(void) { return 0; }
INLINE totals_1 no_totals_1(void) { return 0; }
INLINE pair_1 join_1(const uint8_t *first, const uint8_t *second) { return (pair_1){*first, *second}; }
INLINE words_1 gain_1(words_1 words, pair_1 pair, const int8_t *weight)
{
    return words + pair.first * weight[0] + pair.second * weight[1];
}
INLINE words_1 lose_1(words_1 words, pair_1 pair, const int8_t *weight)
{
    return words - pair.first * weight[0] - pair.second * weight[1];
}
INLINE void flush_1(totals_1 *totals, words_1 *words)
{
    (void)totals;
    (void)words;
}
INLINE void store_1(uint8_t *to, totals_1 totals, words_1 words, int32_t bias, float factor, int largest)
{
    (void)totals;
    *to = level_of(words + bias, factor, largest);
}

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
typedef __m128i sums_4;
INLINE __m128i join_4(const uint8_t *one, const uint8_t *other)
{
    int32_t first, second;
    memcpy(&first, one, sizeof first);
    memcpy(&second, other, sizeof second);
    return _mm_cvtepu8_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(first), _mm_cvtsi32_si128(second)));
}
INLINE __m128i weights_4(int8_t first, int8_t second)
{
    return _mm_set1_epi32((int32_t)((uint32_t)second << 16 | (uint16_t)first));
}
INLINE __m128i both_weights_4(const int8_t *weight)
{
    int16_t both;
    memcpy(&both, weight, sizeof both);
    return _mm_cvtepi8_epi16(_mm_set1_epi16(both));
}
INLINE sums_4 gain_4(sums_4 sums, __m128i pair, __m128i weights) { return _mm_add_epi32(sums, _mm_madd_epi16(pair, weights)); }
#define CAP32(name) name##_32
#define PICK32(wide, one) wide
#else
#define CAP32(name) name##_1
#define PICK32(wide, one) one
#endif
