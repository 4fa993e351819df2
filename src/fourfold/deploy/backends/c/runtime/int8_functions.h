
/* The largest integer whose square is not above a number. */
INLINE int64_t root_of(uint64_t number)
{
    uint64_t root = 0;
    for (int bit = 31; bit >= 0; bit--) {
        const uint64_t next = root | (uint64_t)1 << bit;
        if (next * next <= number)
            root = next;
    }
    return (int64_t)(root > 0 ? root : 1);
}
