#if defined(__GNUC__) && defined(__arm__) && defined(__ARM_FEATURE_SAT) && defined(__ARM_FP) && (__ARM_FP & 4) && \
    !defined(__SOFTFP__) && !defined(PORTABLE)
#define SATURATES
#endif

/* A layer's sum as a level: cut to an integer from 0 to `largest`. No sum of products of floats, which some machines
 * round once and others twice: so all give the same level. */
INLINE uint8_t level_of(int32_t sum, float factor, int largest)
{
    float scaled = (float)sum * factor;
#if defined(SATURATES)
    if (largest == 127) { /* what does not fit becomes the nearest integer that does, and is then cut to seven bits */
        uint32_t level;
        __asm__("vcvt.s32.f32 %0, %0" : "+t"(scaled));
        memcpy(&level, &scaled, sizeof level);
        __asm__("usat %0, #7, %0" : "+r"(level));
        return (uint8_t)level;
    }
#endif
    return (uint8_t)(scaled > 0 ? scaled < largest ? scaled : largest : 0);
}

/* A level from a sum of integer factors. */
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

/* The two weights of a pair of entries, and those of the next pair; none behind the last. */
INLINE int32_t four_weights(const int8_t *weight, const int8_t *next)
{
    uint16_t first, second = 0;
    memcpy(&first, weight, sizeof first);
    if (next)
        memcpy(&second, next, sizeof second);
    return (int32_t)((uint32_t)second << 16 | first);
}

/* Two entries' inputs, joined: pair_N; sums that several pairs fit into: words_N; sums of those: totals_N.
 *
 * flush_N adds the words to the totals, which are of 32 bits, or where a layer's sums allow it, carries what is above the words'
 * lower bits to totals of 16. */
enum { CARRIED = @CARRIED@ };
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
INLINE void flush_1(totals_1 *totals, words_1 *words, int carries)
{
    (void)carries;
    (void)totals;
    (void)words;
}
INLINE void store_1(uint8_t *to, totals_1 totals, words_1 words, int32_t bias, float factor, int largest, int carries)
{
    (void)carries;
    (void)totals;
    *to = level_of(words + bias, factor, largest);
}
