/* A boot sector: into 64 bits with AVX-512 switched on, then the program that follows on the disk, to 1 MB.
 *
 * No operating system: an emulated processor runs nothing but what is tested, and starts in a fraction of a second.
 */
    .code16
    .globl start
start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    inb $0x92, %al /* the 21st address line */
    orb $2, %al
    outb %al, $0x92

    /* Tables of 512 pages of 2 MB, each at its own address. */
    movw $0x1000, %di
    xorl %eax, %eax
    movw $0xc00, %cx
    rep stosl
    movl $0x2003, 0x1000
    movl $0x3003, 0x2000
    movw $0x3000, %di
    movl $0x83, %eax
1:  movl %eax, (%di)
    addl $0x200000, %eax
    addw $8, %di
    cmpw $0x4000, %di
    jne 1b

    lgdt descriptor_table
    movl $0x406a0, %eax /* PAE, PGE, OSFXSR, OSXMMEXCPT, OSXSAVE */
    movl %eax, %cr4
    movl $0x1000, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax /* long mode */
    wrmsr
    movl $0x80000003, %eax /* paging, no emulated coprocessor, protected mode */
    movl %eax, %cr0
    ljmp $8, $in_64_bits

    .align 8
descriptors:
    .quad 0, 0x00209a0000000000, 0x0000920000000000
descriptor_table:
    .word . - descriptors - 1
    .long descriptors

    .code64
in_64_bits:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x10000000, %esp
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $0xe7, %eax /* the states of x87, SSE, AVX and AVX-512 */
    xsetbv

    movl $0x100000, %edi
    movl $1, %ebx /* the sector to read */
2:  movw $0x1f2, %dx
    movb $1, %al
    outb %al, %dx
    movl %ebx, %eax
    incw %dx
    outb %al, %dx
    shrl $8, %eax
    incw %dx
    outb %al, %dx
    shrl $8, %eax
    incw %dx
    outb %al, %dx
    incw %dx
    movb $0xe0, %al
    outb %al, %dx
    incw %dx
    movb $0x20, %al
    outb %al, %dx
3:  inb %dx, %al
    testb $8, %al
    jz 3b
    movw $0x1f0, %dx
    movl $256, %ecx
    rep insw
    incl %ebx
    cmpl $SECTORS, %ebx
    jbe 2b
    movl $0x100000, %eax
    call *%rax

    .org 510
    .word 0xaa55
