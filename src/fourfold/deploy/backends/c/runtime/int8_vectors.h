
#if LANES == 4 && !defined(PAIRS_16)
#define PAIRS_16
/* 16 pixels in GCC's and clang's own vectors of 16 bytes, for NEON, SSE2 and WebAssembly; GCC widens those one number at a time. */
#if defined(__ARM_NEON)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#else
#include <emmintrin.h>
#endif
typedef int16_t eight_words __attribute__((vector_size(16)));
typedef int32_t four_totals __attribute__((vector_size(16)));
typedef struct {
    eight_words first_low, first_high, second_low, second_high;
} pair_16;
typedef struct {
    eight_words low, high; /* each by its name: arrays stay in memory */
} words_16;
typedef struct {
    four_totals of[4];
} totals_16;
enum { lanes_16 = 16 };
INLINE words_16 no_words_16(void) { return (words_16){{0}, {0}}; }
INLINE totals_16 no_totals_16(void) { return (totals_16){{{0}, {0}, {0}, {0}}}; }
INLINE eight_words levels_at(const uint8_t *from)
{
#if defined(__ARM_NEON)
    return (eight_words)vmovl_u8(vld1_u8(from));
#elif defined(__wasm_simd128__)
    return (eight_words)wasm_u16x8_load8x8(from);
#else
    return (eight_words)_mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)from), _mm_setzero_si128());
#endif
}
INLINE pair_16 join_16(const uint8_t *first, const uint8_t *second)
{
    return (pair_16){levels_at(first), levels_at(first + 8), levels_at(second), levels_at(second + 8)};
}
INLINE words_16 gain_16(words_16 words, pair_16 pair, const int8_t *weight)
{
    const int16_t first = weight[0], second = weight[1];
    words.low += pair.first_low * first;
    words.high += pair.first_high * first;
    words.low += pair.second_low * second;
    words.high += pair.second_high * second;
    KEEP(words.low);
    KEEP(words.high);
    return words;
}
INLINE words_16 lose_16(words_16 words, pair_16 pair, const int8_t *weight)
{
    const int8_t negative[2] = {(int8_t)-weight[0], (int8_t)-weight[1]};
    return gain_16(words, pair, negative);
}
INLINE void widen_16(four_totals *totals, eight_words words)
{
#if defined(__ARM_NEON)
    totals[0] += (four_totals)vmovl_s16(vget_low_s16((int16x8_t)words));
    totals[1] += (four_totals)vmovl_s16(vget_high_s16((int16x8_t)words));
#elif defined(__wasm_simd128__)
    totals[0] += (four_totals)wasm_i32x4_extend_low_i16x8((v128_t)words);
    totals[1] += (four_totals)wasm_i32x4_extend_high_i16x8((v128_t)words);
#else
    const __m128i signs = _mm_srai_epi16((__m128i)words, 15);
    totals[0] += (four_totals)_mm_unpacklo_epi16((__m128i)words, signs);
    totals[1] += (four_totals)_mm_unpackhi_epi16((__m128i)words, signs);
#endif
}
INLINE void flush_16(totals_16 *totals, words_16 *words, int carries)
{
    (void)carries;
    widen_16(totals->of, words->low);
    widen_16(totals->of + 2, words->high);
    *words = no_words_16();
}
INLINE void store_16(uint8_t *to, totals_16 totals, words_16 words, int32_t bias, float factor, int largest, int carries)
{
    flush_16(&totals, &words, carries);
#if defined(__wasm_simd128__)
    v128_t level[4];
    UNROLL
    for (int i = 0; i < 4; i++) {
        const v128_t scaled = (v128_t)(__builtin_convertvector(totals.of[i] + bias, vector_4) * factor);
        level[i] = wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_pmin(scaled, wasm_f32x4_splat((float)largest)));
    }
    const v128_t low = wasm_i16x8_narrow_i32x4(level[0], level[1]), high = wasm_i16x8_narrow_i32x4(level[2], level[3]);
    wasm_v128_store(to, wasm_u8x16_narrow_i16x8(low, high));
#else
    UNROLL
    for (int i = 0; i < 16; i++)
        to[i] = level_of(totals.of[i / 4][i % 4] + bias, factor, largest);
#endif
}
#endif
