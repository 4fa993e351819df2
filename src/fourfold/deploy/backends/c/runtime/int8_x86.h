
#if @IF_PAIRS@
#define PAIRS_@PIXELS@
#include <immintrin.h>
/* @PIXELS@ pixels in registers of @BITS@ bits: in each 16 bytes of them, of pixels that follow each other, the words of the first
 * 8 are in `low` and those of the last 8 in `high`. */
typedef __m@BITS@i bytes_@PIXELS@;
typedef struct {
    bytes_@PIXELS@ low, high;
} pair_@PIXELS@;
typedef pair_@PIXELS@ words_@PIXELS@;
typedef struct {
    bytes_@PIXELS@ of[4]; /* in 32 bits: of the even words of `low` and of its odd ones, and those of `high`. In 16: two */
} totals_@PIXELS@;
enum { lanes_@PIXELS@ = @PIXELS@ };
INLINE bytes_@PIXELS@ nothing_@PIXELS@(void) { return @MM@_setzero_si@BITS@(); }
INLINE words_@PIXELS@ no_words_@PIXELS@(void) { return (words_@PIXELS@){nothing_@PIXELS@(), nothing_@PIXELS@()}; }
INLINE totals_@PIXELS@ no_totals_@PIXELS@(void)
{
    const bytes_@PIXELS@ none = nothing_@PIXELS@();
    return (totals_@PIXELS@){{none, none, none, none}};
}
INLINE pair_@PIXELS@ join_@PIXELS@(const uint8_t *first, const uint8_t *second)
{
    const bytes_@PIXELS@ a = @MM@_loadu_si@BITS@((const __m@BITS@i *)first);
    const bytes_@PIXELS@ b = @MM@_loadu_si@BITS@((const __m@BITS@i *)second);
    return (pair_@PIXELS@){@MM@_unpacklo_epi8(a, b), @MM@_unpackhi_epi8(a, b)};
}
INLINE bytes_@PIXELS@ weights_@PIXELS@(const int8_t *weight)
{
    int16_t both;
    memcpy(&both, weight, sizeof both);
    return @MM@_set1_epi16(both);
}
INLINE words_@PIXELS@ gain_@PIXELS@(words_@PIXELS@ words, pair_@PIXELS@ pair, const int8_t *weight)
{
    const bytes_@PIXELS@ by = weights_@PIXELS@(weight);
    words.low = @MM@_add_epi16(words.low, @MM@_maddubs_epi16(pair.low, by));
    words.high = @MM@_add_epi16(words.high, @MM@_maddubs_epi16(pair.high, by));
    KEEP(words.low);
    KEEP(words.high);
    return words;
}
INLINE words_@PIXELS@ lose_@PIXELS@(words_@PIXELS@ words, pair_@PIXELS@ pair, const int8_t *weight)
{
    const bytes_@PIXELS@ by = weights_@PIXELS@(weight);
    words.low = @MM@_sub_epi16(words.low, @MM@_maddubs_epi16(pair.low, by));
    words.high = @MM@_sub_epi16(words.high, @MM@_maddubs_epi16(pair.high, by));
    KEEP(words.low);
    KEEP(words.high);
    return words;
}
INLINE void widen_@PIXELS@(bytes_@PIXELS@ *totals, bytes_@PIXELS@ words)
{
    const bytes_@PIXELS@ even = @MM@_set1_epi32(1), odd = @MM@_set1_epi32(1 << 16);
    totals[0] = @MM@_add_epi32(totals[0], @MM@_madd_epi16(words, even));
    totals[1] = @MM@_add_epi32(totals[1], @MM@_madd_epi16(words, odd));
}
INLINE void carry_@PIXELS@(bytes_@PIXELS@ *total, bytes_@PIXELS@ *words)
{
    *total = @MM@_add_epi16(*total, @MM@_srai_epi16(*words, CARRIED));
    *words = @MM@_and_si@BITS@(*words, @MM@_set1_epi16((1 << CARRIED) - 1));
}
INLINE void flush_@PIXELS@(totals_@PIXELS@ *totals, words_@PIXELS@ *words, int carries)
{
    if (carries) {
        carry_@PIXELS@(totals->of, &words->low);
        carry_@PIXELS@(totals->of + 1, &words->high);
    } else {
        widen_@PIXELS@(totals->of, words->low);
        widen_@PIXELS@(totals->of + 2, words->high);
        *words = no_words_@PIXELS@();
    }
}
INLINE bytes_@PIXELS@ levels_@PIXELS@(bytes_@PIXELS@ total, int32_t bias, float factor, int largest)
{
    const __m@BITS@ sums = @MM@_cvtepi32_ps(@MM@_add_epi32(total, @MM@_set1_epi32(bias)));
    const __m@BITS@ scaled = @MM@_mul_ps(sums, @MM@_set1_ps(factor));
    return @MM@_cvttps_epi32(@MM@_min_ps(scaled, @MM@_set1_ps((float)largest)));
}
/* Levels of pixels 0–3 of each 16, 4–7, 8–11, 12–15, from sums in this order; below 0 they become 0. */
INLINE void put_@PIXELS@(uint8_t *to, const bytes_@PIXELS@ *sums, int32_t bias, float factor, int largest)
{
    bytes_@PIXELS@ level[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        level[i] = levels_@PIXELS@(sums[i], bias, factor, largest);
    const bytes_@PIXELS@ low = @MM@_packs_epi32(level[0], level[1]), high = @MM@_packs_epi32(level[2], level[3]);
    @MM@_storeu_si@BITS@((__m@BITS@i *)to, @MM@_packus_epi16(low, high));
}
INLINE void store_@PIXELS@(uint8_t *to, totals_@PIXELS@ totals, words_@PIXELS@ words, int32_t bias, float factor, int largest,
                      int carries)
{
    bytes_@PIXELS@ sums[4];
    if (carries) {
        const bytes_@PIXELS@ weights = @MM@_set1_epi32(1 << (CARRIED + 16) | 1);
        sums[0] = @MM@_madd_epi16(@MM@_unpacklo_epi16(words.low, totals.of[0]), weights);
        sums[1] = @MM@_madd_epi16(@MM@_unpackhi_epi16(words.low, totals.of[0]), weights);
        sums[2] = @MM@_madd_epi16(@MM@_unpacklo_epi16(words.high, totals.of[1]), weights);
        sums[3] = @MM@_madd_epi16(@MM@_unpackhi_epi16(words.high, totals.of[1]), weights);
    } else {
        flush_@PIXELS@(&totals, &words, carries);
        sums[0] = @MM@_unpacklo_epi32(totals.of[0], totals.of[1]);
        sums[1] = @MM@_unpackhi_epi32(totals.of[0], totals.of[1]);
        sums[2] = @MM@_unpacklo_epi32(totals.of[2], totals.of[3]);
        sums[3] = @MM@_unpackhi_epi32(totals.of[2], totals.of[3]);
    }
    put_@PIXELS@(to, sums, bias, factor, largest);
}
#endif

#if defined(PAIRS_@PIXELS@) && (@IF_DOTS@)
#define DOTS_@PIXELS@
/* The same pixels of four entries, whose bytes stand side by side for VNNI: pixels 0–3 of each 16, 4–7, 8–11, 12–15. */
typedef struct {
    bytes_@PIXELS@ of[4];
} pair_dots_@PIXELS@;
typedef pair_dots_@PIXELS@ words_dots_@PIXELS@;
typedef char totals_dots_@PIXELS@; /* nothing: the words hold as much */
enum { lanes_dots_@PIXELS@ = @PIXELS@ };
INLINE words_dots_@PIXELS@ no_words_dots_@PIXELS@(void)
{
    const bytes_@PIXELS@ none = nothing_@PIXELS@();
    return (words_dots_@PIXELS@){{none, none, none, none}};
}
INLINE totals_dots_@PIXELS@ no_totals_dots_@PIXELS@(void) { return 0; }
INLINE pair_dots_@PIXELS@ join_dots_@PIXELS@(const uint8_t *first, const uint8_t *second, const uint8_t *third,
                                           const uint8_t *fourth)
{
    const pair_@PIXELS@ one = join_@PIXELS@(first, second), other = join_@PIXELS@(third, fourth);
    return (pair_dots_@PIXELS@){{
        @MM@_unpacklo_epi16(one.low, other.low),
        @MM@_unpackhi_epi16(one.low, other.low),
        @MM@_unpacklo_epi16(one.high, other.high),
        @MM@_unpackhi_epi16(one.high, other.high),
    }};
}
INLINE bytes_@PIXELS@ weights_dots_@PIXELS@(const int8_t *weight, const int8_t *next)
{
    return @MM@_set1_epi32(four_weights(weight, next));
}
INLINE words_dots_@PIXELS@ gain_dots_@PIXELS@(words_dots_@PIXELS@ words, pair_dots_@PIXELS@ pair, bytes_@PIXELS@ weights)
{
    UNROLL
    for (int i = 0; i < 4; i++) {
        words.of[i] = @MM@_dpbusd_epi32(words.of[i], pair.of[i], weights);
        KEEP(words.of[i]);
    }
    return words;
}
INLINE words_dots_@PIXELS@ lose_dots_@PIXELS@(words_dots_@PIXELS@ words, pair_dots_@PIXELS@ pair, bytes_@PIXELS@ weights)
{
    return gain_dots_@PIXELS@(words, pair, @MM@_sub_epi8(nothing_@PIXELS@(), weights));
}
INLINE void flush_dots_@PIXELS@(totals_dots_@PIXELS@ *totals, words_dots_@PIXELS@ *words, int carries)
{
    (void)totals;
    (void)words;
    (void)carries;
}
INLINE void store_dots_@PIXELS@(uint8_t *to, totals_dots_@PIXELS@ totals, words_dots_@PIXELS@ words, int32_t bias,
                           float factor, int largest, int carries)
{
    (void)totals;
    (void)carries;
    put_@PIXELS@(to, words.of, bias, factor, largest);
}
#endif
