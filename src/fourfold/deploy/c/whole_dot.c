
#if LANES == 4 && defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD) && !defined(__ARM_BIG_ENDIAN)
/* 16 pixels of four entries, whose bytes stand side by side for SDOT: it takes signed ones, so levels up to 127. */
#define DOTS
typedef struct {
    int8x16_t of[4]; /* pixels 0–3, 4–7, 8–11, 12–15 */
} pair_dot;
typedef struct {
    int32x4_t of[4];
} words_dot;
typedef char totals_dot; /* nothing: the words hold as much */
enum { lanes_dot = 16 };
INLINE words_dot no_words_dot(void) { return (words_dot){{vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}}; }
INLINE totals_dot no_totals_dot(void) { return 0; }
INLINE pair_dot join_dot(const uint8_t *first, const uint8_t *second, const uint8_t *third, const uint8_t *fourth)
{
    const uint8x16_t a = vld1q_u8(first), b = vld1q_u8(second), c = vld1q_u8(third), d = vld1q_u8(fourth);
    const uint16x8_t ab_low = vreinterpretq_u16_u8(vzip1q_u8(a, b)), ab_high = vreinterpretq_u16_u8(vzip2q_u8(a, b));
    const uint16x8_t cd_low = vreinterpretq_u16_u8(vzip1q_u8(c, d)), cd_high = vreinterpretq_u16_u8(vzip2q_u8(c, d));
    return (pair_dot){{
        vreinterpretq_s8_u16(vzip1q_u16(ab_low, cd_low)),
        vreinterpretq_s8_u16(vzip2q_u16(ab_low, cd_low)),
        vreinterpretq_s8_u16(vzip1q_u16(ab_high, cd_high)),
        vreinterpretq_s8_u16(vzip2q_u16(ab_high, cd_high)),
    }};
}
/* Two weights of a pair, and two of the next; none behind the last. */
INLINE int8x16_t weights_dot(const int8_t *weight, const int8_t *next)
{
    int16_t both[2] = {0, 0};
    int32_t four;
    memcpy(both, weight, sizeof both[0]);
    if (next)
        memcpy(both + 1, next, sizeof both[1]);
    memcpy(&four, both, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
INLINE words_dot gain_dot(words_dot words, pair_dot pair, int8x16_t weights)
{
    UNROLL
    for (int i = 0; i < 4; i++)
        words.of[i] = vdotq_s32(words.of[i], pair.of[i], weights);
    return words;
}
INLINE words_dot lose_dot(words_dot words, pair_dot pair, int8x16_t weights)
{
    return gain_dot(words, pair, vnegq_s8(weights));
}
INLINE void flush_dot(totals_dot *totals, words_dot *words)
{
    (void)totals;
    (void)words;
}
INLINE void store_dot(uint8_t *to, totals_dot totals, words_dot words, int32_t bias, float factor, int largest)
{
    (void)totals;
    totals_16 sums;
    memcpy(&sums, &words, sizeof sums);
    store_16(to, sums, no_words_16(), bias, factor, largest);
}
#define CAPDOT(name) name##_dot
#endif

#if !defined(CAP32)
#define CAP32(name) name##_1
#define PICK32(wide, one) one
#else
#define PICK32(wide, one) wide
#endif
#if !defined(CAPDOT)
#define CAPDOT(name) CAP32(name)
#endif
