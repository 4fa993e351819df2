/* Vectors of the widest kind that this is compiled for; a layer whose rows are shorter takes narrower ones. */
@LANES_LADDER@

#if defined(__cplusplus)
#define restrict __restrict
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline, unused))
#define ALIGNED __attribute__((aligned(64)))
#else
#define INLINE static inline
#define ALIGNED
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 32")
#else
#define UNROLL
#endif

/* Keep a vector in its register: compilers else load it again for every multiply-add, and the loads are what a kernel waits for. */
#if LANES == 16
#define KEEP(vector) __asm__("" : "+v"(vector)) /* any of 32 registers */
#elif LANES > 1 && defined(__SSE2__)
#define KEEP(vector) __asm__("" : "+x"(vector))
#elif LANES > 1 && defined(__ARM_NEON)
#define KEEP(vector) __asm__("" : "+w"(vector))
#else
#define KEEP(vector)
#endif

/* vector_N in registers, loose_N in memory at any address. Not a number stays what it is through relu_N. */
#define VECTORS_OF(N)                                                                                                    \
    enum { lanes_##N = N };                                                                                              \
    typedef float vector_##N __attribute__((vector_size(4 * N)));                                                        \
    typedef int32_t mask_##N __attribute__((vector_size(4 * N)));                                                        \
    typedef float loose_##N __attribute__((vector_size(4 * N), aligned(4), may_alias));                                  \
    INLINE vector_##N relu_##N(vector_##N a) { return (vector_##N)(~(mask_##N)(a < 0) & (mask_##N)a); }                  \
    INLINE float total_##N(vector_##N a)                                                                                 \
    {                                                                                                                    \
        float sum = 0;                                                                                                   \
        UNROLL                                                                                                           \
        for (int lane = 0; lane < N; lane++)                                                                             \
            sum += a[lane];                                                                                              \
        return sum;                                                                                                      \
    }

enum { lanes_1 = 1 };
typedef float vector_1;
typedef float loose_1;
INLINE float relu_1(float a) { return a < 0 ? 0 : a; }
INLINE float total_1(float a) { return a; }

#if LANES >= 4
VECTORS_OF(4)
#define CAP4(name) name##_4
#else
#define CAP4(name) name##_1
#endif
#if LANES >= 8
VECTORS_OF(8)
#define CAP8(name) name##_8
#else
#define CAP8(name) CAP4(name)
#endif
#if LANES >= 16
VECTORS_OF(16)
#define CAP16(name) name##_16
#define PICK(sixteen, eight, four, one) sixteen
#else
#define CAP16(name) CAP8(name)
#if LANES >= 8
#define PICK(sixteen, eight, four, one) eight
#elif LANES >= 4
#define PICK(sixteen, eight, four, one) four
#else
#define PICK(sixteen, eight, four, one) one
#endif
#endif
#define CAP1(name) name##_1

/* A number of an algebra of dimension N, its components side by side. */
#if LANES > 1
#define NUMBERS_OF(N)                                                                                                    \
    typedef float numbers_##N __attribute__((vector_size(4 * N)));                                                       \
    typedef float loose_numbers_##N __attribute__((vector_size(4 * N), aligned(4), may_alias));
NUMBERS_OF(2)
NUMBERS_OF(4)
NUMBERS_OF(8)
NUMBERS_OF(16)
#endif

/* The sum of counts: the entries of lists that another thread walks. */
INLINE uint32_t entries_of(const COUNT *count, int lists)
{
    uint32_t entries = 0;
    for (int list = 0; list < lists; list++)
        entries += count[list];
    return entries;
}

/* Fill with zeros what is not the map in the planes of channels: above it, below it, and between the rows. `zero` is a byte's, and of
 * a float's bytes each is 0. */
INLINE void wipe(NUMBER *y, int channels, int height, int width, int pitch, int origin, int length, int zero)
{
    const int end = origin + (height - 1) * pitch + width;
    for (int channel = 0; channel < channels; channel++, y += length) {
        memset(y, zero, (size_t)origin * sizeof *y);
        for (int row = 1; row < height; row++)
            memset(y + origin + row * pitch + width - pitch, zero, (size_t)(pitch - width) * sizeof *y);
        memset(y + end, zero, (size_t)(length - end) * sizeof *y);
    }
}
