/* The machine's count of instructions, as QEMU gives it with -icount shift=0: a nanosecond is an instruction. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdint.h>

#if defined(__riscv)
static inline void start_counting(void) {}
static inline uint32_t instructions(void)
{
    uint32_t count;
    __asm__ volatile(".option push\n .option arch, +zicsr\n csrr %0, minstret\n .option pop" : "=r"(count));
    return count;
}
#else
#define SYSTICK ((volatile uint32_t *)0xE000E010) /* control, reload, value */
#define CLOCK_NANOSECONDS 40 /* the boards' 25 MHz */
static inline void start_counting(void)
{
    SYSTICK[1] = 0xFFFFFF;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5;
    while (SYSTICK[2] == 0) { /* it begins with its next tick */
    }
}
static inline uint32_t instructions(void) { return (0xFFFFFF - SYSTICK[2]) * CLOCK_NANOSECONDS; }
#endif
#endif
