
/* ARM's instructions for halves of registers (Cortex-M4, M7, M33 …), where a register is loaded from any address. */
#if defined(__GNUC__) && defined(__arm__) && defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_UNALIGNED) && __ARM_ARCH >= 7 && \
    LANES == 1 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && !defined(PORTABLE)
#define DSP
typedef struct {
    uint32_t four;
} __attribute__((packed, may_alias)) loose_word;
#endif

/* The sum of four entries of a list: each input lies a step behind the one before; `from` is left at the last one. */
#if defined(DSP)
INLINE int32_t gain_four(int32_t sum, const uint8_t **from, const uint16_t *step, const int8_t *weight)
{
    const uint8_t *at = *from;
    uint32_t steps, even, odd, level;
    __asm__("ldr %4, %8\n\tldr %2, %6\n\tsxtb16 %3, %4\n\tsxtb16 %4, %4, ror #8\n\t"
            "uxtah %1, %1, %2\n\tldrb %5, [%1]\n\tsmlabb %0, %5, %3, %0\n\t"
            "add %1, %1, %2, lsr #16\n\tldrb %5, [%1]\n\tsmlabb %0, %5, %4, %0\n\tldr %2, %7\n\t"
            "uxtah %1, %1, %2\n\tldrb %5, [%1]\n\tsmlabt %0, %5, %3, %0\n\t"
            "add %1, %1, %2, lsr #16\n\tldrb %5, [%1]\n\tsmlabt %0, %5, %4, %0"
            : "+r"(sum), "+r"(at), "=&r"(steps), "=&r"(even), "=&r"(odd), "=&r"(level)
            : "m"(*(const loose_word *)step), "m"(*(const loose_word *)(step + 2)), "m"(*(const loose_word *)weight)
            : "memory");
    *from = at;
    return sum;
}
#else
INLINE int32_t gain_four(int32_t sum, const uint8_t **from, const uint16_t *step, const int8_t *weight)
{
    const uint8_t *at = *from;
    UNROLL
    for (int entry = 0; entry < 4; entry++)
        sum += weight[entry] * *(at += step[entry]);
    *from = at;
    return sum;
}
#endif

#if LANES == 1 && defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && !defined(BYTEWISE) && \
    (defined(__ARM_FEATURE_UNALIGNED) || defined(__x86_64__) || defined(__aarch64__))
#define WORDS_OF_PIXELS
/* Without vectors, where a register is loaded from any address: of four pixels, bytes 0 and 2 are masked, and bytes 1 and 3, so that
 * one product adds to two sums of 16 bits. What the lower sum borrows from the upper one, it gives back when they are read. */
typedef struct {
    uint32_t even, odd;
} halves;
INLINE int32_t word_step(uint32_t entry) { return (int32_t)(entry & 0xffff); }
INLINE int32_t word_weight(uint32_t entry) { return (int32_t)entry >> 16; }
#if defined(DSP)
/* Each in one piece: compilers else load far ahead, and keep in memory what does not fit into registers. */
#define GAIN_OR_LOSE(name, instruction)                                                                                   \
    INLINE halves name##_pixels(halves sums, const uint8_t *from, int32_t weight)                                         \
    {                                                                                                                     \
        uint32_t four, even;                                                                                              \
        __asm__("ldr %2, %4\n\tuxtb16 %3, %2\n\tuxtb16 %2, %2, ror #8\n\t" instruction " %0, %3, %5, %0\n\t"              \
                instruction " %1, %2, %5, %1"                                                                             \
                : "+r"(sums.even), "+r"(sums.odd), "=&r"(four), "=&r"(even)                                               \
                : "m"(*(const loose_word *)from), "r"(weight));                                                           \
        return sums;                                                                                                      \
    }                                                                                                                     \
    INLINE halves name##_halves(halves sums, halves pixels, const int8_t *weight)                                         \
    {                                                                                                                     \
        int32_t by;                                                                                                       \
        __asm__("ldrsb %2, %5\n\t" instruction " %0, %3, %2, %0\n\t" instruction " %1, %4, %2, %1"                        \
                : "+r"(sums.even), "+r"(sums.odd), "=&r"(by)                                                              \
                : "r"(pixels.even), "r"(pixels.odd), "m"(*weight));                                                       \
        return sums;                                                                                                      \
    }
GAIN_OR_LOSE(gain, "mla")
GAIN_OR_LOSE(lose, "mls")
INLINE halves pixels_at(const uint8_t *from)
{
    halves pixels;
    __asm__("ldr %1, %2\n\tuxtb16 %0, %1\n\tuxtb16 %1, %1, ror #8"
            : "=&r"(pixels.even), "=&r"(pixels.odd)
            : "m"(*(const loose_word *)from));
    return pixels;
}
#else
INLINE halves pixels_at(const uint8_t *from)
{
    uint32_t four;
    memcpy(&four, from, sizeof four);
    return (halves){four & 0x00ff00ff, four >> 8 & 0x00ff00ff};
}
INLINE halves gain_halves(halves sums, halves pixels, const int8_t *weight)
{
    const uint32_t by = (uint32_t)*weight;
    return (halves){sums.even + pixels.even * by, sums.odd + pixels.odd * by};
}
INLINE halves lose_halves(halves sums, halves pixels, const int8_t *weight)
{
    const uint32_t by = (uint32_t)*weight;
    return (halves){sums.even - pixels.even * by, sums.odd - pixels.odd * by};
}
INLINE halves gain_pixels(halves sums, const uint8_t *from, int32_t weight)
{
    const int8_t by = (int8_t)weight;
    return gain_halves(sums, pixels_at(from), &by);
}
INLINE halves lose_pixels(halves sums, const uint8_t *from, int32_t weight)
{
    const int8_t by = (int8_t)weight;
    return lose_halves(sums, pixels_at(from), &by);
}
#endif
/* Wide sums stay in memory, as registers are few: where they lie, compilers do not know. */
#define IN_MEMORY(pointer) __asm__("" : "+r"(pointer))
INLINE void widen(int32_t *sums, halves more, int begun)
{
    sums[0] = (begun ? sums[0] : 0) + (int16_t)more.even;
    sums[1] = (begun ? sums[1] : 0) + (int16_t)more.odd;
    sums[2] = (begun ? sums[2] : 0) + ((int32_t)(more.even + 0x8000) >> 16);
    sums[3] = (begun ? sums[3] : 0) + ((int32_t)(more.odd + 0x8000) >> 16);
}
INLINE void put_levels(uint8_t *to, int32_t bias, halves more, float factor, int largest)
{
    to[0] = level_of(bias + (int16_t)more.even, factor, largest);
    to[1] = level_of(bias + (int16_t)more.odd, factor, largest);
    to[2] = level_of(bias + ((int32_t)(more.even + 0x8000) >> 16), factor, largest);
    to[3] = level_of(bias + ((int32_t)(more.odd + 0x8000) >> 16), factor, largest);
}
INLINE void put_wide_levels(uint8_t *to, int32_t bias, halves more, const int32_t *wide, float factor, int largest)
{
    to[0] = level_of(bias + wide[0] + (int16_t)more.even, factor, largest);
    to[1] = level_of(bias + wide[1] + (int16_t)more.odd, factor, largest);
    to[2] = level_of(bias + wide[2] + ((int32_t)(more.even + 0x8000) >> 16), factor, largest);
    to[3] = level_of(bias + wide[3] + ((int32_t)(more.odd + 0x8000) >> 16), factor, largest);
}
#endif
