/* The constants that the generated C takes of the C library. */
#ifndef FOURFOLD_MATH_H
#define FOURFOLD_MATH_H
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#endif
