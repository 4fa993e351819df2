/* Vectors of the processor, and what the compilers call shuffling them. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif

#define INLINE static inline __attribute__((always_inline))
/* Inlined into the loop over tiles, a tile's loop has an address for each vector, which GCC fetches from memory every time. */
#define APART static __attribute__((noinline))
typedef float vector __attribute__((vector_size(4 * LANES), may_alias));
typedef float anywhere __attribute__((vector_size(4 * LANES), may_alias, aligned(4))); /* begins at any float */
typedef float eight __attribute__((vector_size(32)));
typedef float four __attribute__((vector_size(16), may_alias));
typedef int32_t eight_counts __attribute__((vector_size(32)));
typedef int32_t four_counts __attribute__((vector_size(16)));
typedef uint8_t bytes __attribute__((vector_size(16)));

/* The elements of a and b that are numbered, those of b after those of a. */
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define SHUFFLE_BYTES SHUFFLE
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (eight_counts){__VA_ARGS__})
#define SHUFFLE_BYTES(a, b, ...) __builtin_shuffle(a, b, (bytes){__VA_ARGS__})
#endif

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
