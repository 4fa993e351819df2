
#if LANES == 4 && defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD) && !defined(__ARM_BIG_ENDIAN)
#define DOTS_16
/* 16 pixels of four entries, whose bytes stand side by side for SDOT: it takes signed ones, so levels up to 127. */
typedef struct {
    int8x16_t of[4]; /* pixels 0–3, 4–7, 8–11, 12–15 */
} pair_dots_16;
typedef struct {
    int32x4_t of[4];
} words_dots_16;
typedef char totals_dots_16; /* nothing: the words hold as much */
enum { lanes_dots_16 = 16 };
INLINE words_dots_16 no_words_dots_16(void)
{
    return (words_dots_16){{vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}};
}
INLINE totals_dots_16 no_totals_dots_16(void) { return 0; }
INLINE pair_dots_16 join_dots_16(const uint8_t *first, const uint8_t *second, const uint8_t *third, const uint8_t *fourth)
{
    const uint8x16_t a = vld1q_u8(first), b = vld1q_u8(second), c = vld1q_u8(third), d = vld1q_u8(fourth);
    const uint16x8_t ab_low = vreinterpretq_u16_u8(vzip1q_u8(a, b)), ab_high = vreinterpretq_u16_u8(vzip2q_u8(a, b));
    const uint16x8_t cd_low = vreinterpretq_u16_u8(vzip1q_u8(c, d)), cd_high = vreinterpretq_u16_u8(vzip2q_u8(c, d));
    return (pair_dots_16){{
        vreinterpretq_s8_u16(vzip1q_u16(ab_low, cd_low)),
        vreinterpretq_s8_u16(vzip2q_u16(ab_low, cd_low)),
        vreinterpretq_s8_u16(vzip1q_u16(ab_high, cd_high)),
        vreinterpretq_s8_u16(vzip2q_u16(ab_high, cd_high)),
    }};
}
INLINE int8x16_t weights_dots_16(const int8_t *weight, const int8_t *next)
{
    return vreinterpretq_s8_s32(vdupq_n_s32(four_weights(weight, next)));
}
INLINE words_dots_16 gain_dots_16(words_dots_16 words, pair_dots_16 pair, int8x16_t weights)
{
    UNROLL
    for (int i = 0; i < 4; i++)
        words.of[i] = vdotq_s32(words.of[i], pair.of[i], weights);
    return words;
}
INLINE words_dots_16 lose_dots_16(words_dots_16 words, pair_dots_16 pair, int8x16_t weights)
{
    return gain_dots_16(words, pair, vnegq_s8(weights));
}
INLINE void flush_dots_16(totals_dots_16 *totals, words_dots_16 *words, int carries)
{
    (void)carries;
    (void)totals;
    (void)words;
}
INLINE void store_dots_16(uint8_t *to, totals_dots_16 totals, words_dots_16 words, int32_t bias, float factor, int largest, int carries)
{
    (void)carries;
    (void)totals;
    totals_16 sums;
    memcpy(&sums, &words, sizeof sums);
    store_16(to, sums, no_words_16(), bias, factor, largest, 0);
}
#endif
