
/* KERNEL_P_L(name): of the kernel for P pixels and more, and levels up to L. FOURS_P_L: whether it takes four entries at once. */
#if defined(DOTS_32)
#define KERNEL_32_255(name) name##_dots_32
#define FOURS_32_255 1
#else
#define FOURS_32_255 0
#if defined(PAIRS_32)
#define KERNEL_32_255(name) name##_32
#elif defined(PAIRS_16)
#define KERNEL_32_255(name) name##_16
#else
#define KERNEL_32_255(name) name##_1
#endif
#endif

#if defined(DOTS_16)
#define KERNEL_32_127(name) name##_dots_16
#define FOURS_32_127 1
#else
#define KERNEL_32_127(name) KERNEL_32_255(name)
#define FOURS_32_127 FOURS_32_255
#endif

#if defined(DOTS_64)
#define KERNEL_64_255(name) name##_dots_64
#define KERNEL_64_127(name) name##_dots_64
#define FOURS_64_255 1
#define FOURS_64_127 1
#elif defined(PAIRS_64)
#define KERNEL_64_255(name) name##_64
#define KERNEL_64_127(name) name##_64
#define FOURS_64_255 0
#define FOURS_64_127 0
#else
#define KERNEL_64_255(name) KERNEL_32_255(name)
#define KERNEL_64_127(name) KERNEL_32_127(name)
#define FOURS_64_255 FOURS_32_255
#define FOURS_64_127 FOURS_32_127
#endif

#define KERNEL_1(name) name##_1
