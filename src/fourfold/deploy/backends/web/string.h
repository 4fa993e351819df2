/* What the generated C takes of the C library, for WebAssembly, where there is none: the compiler's own instructions. */
#ifndef FOURFOLD_STRING_H
#define FOURFOLD_STRING_H
#include <stddef.h>
#define memcpy(to, from, bytes) __builtin_memcpy(to, from, bytes)
#define memmove(to, from, bytes) __builtin_memmove(to, from, bytes)
#define memset(to, byte, bytes) __builtin_memset(to, byte, bytes)
#endif
