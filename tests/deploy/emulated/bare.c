/* What a test's main program needs of the C library, where there is no system: input from the program's own file, output to
 * Bochs, and memory that is never given back. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__asm__(".section .rodata\ninput:\n.incbin \"input.bin\"\ninput_end:\n.previous\n");
extern const char input[], input_end[];
extern char end_of_program[];
static const char *unread = input;
static char *unused = end_of_program;
FILE *stdin, *stdout;

static void tell(uint16_t port, char byte) { __asm__ volatile("outb %0, %1" : : "a"(byte), "d"(port)); }

static void tell_all(uint16_t port, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        tell(port, bytes[i]);
}

int main(void);

__attribute__((section(".first"))) void begin(void)
{
    tell_all(0xe9, "<<begin>>", 9);
    if (main() == 0)
        tell_all(0xe9, "<<end>>", 7);
    tell_all(0x8900, "Shutdown", 8);
    for (;;)
        __asm__("hlt");
}

void *malloc(size_t size)
{
    char *const given = unused;
    unused += (size + 63) / 64 * 64;
    return given;
}

void free(void *memory) { (void)memory; }

size_t fread(void *to, size_t size, size_t count, FILE *file)
{
    (void)file;
    if (size * count > (size_t)(input_end - unread))
        return 0;
    memcpy(to, unread, size * count);
    unread += size * count;
    return count;
}

size_t fwrite(const void *from, size_t size, size_t count, FILE *file)
{
    (void)file;
    tell_all(0xe9, from, size * count);
    return count;
}

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

void *memset(void *to, int byte, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((char *)to)[i] = (char)byte;
    return to;
}

void *memmove(void *to, const void *from, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        const size_t at = (char *)to < (const char *)from ? i : length - 1 - i;
        ((char *)to)[at] = ((const char *)from)[at];
    }
    return to;
}
