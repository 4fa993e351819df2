
#if defined(DOTS_64)
#define BLOCKS
/* Blocks of four outputs and four inputs. For a tile of pixels, the inputs' channels lie side by side in fours: the bytes of a dot
 * product. Of a block with two places, output a takes those bytes b from the first one of which `split` has component a ^ b, and
 * the others from the second. */

/* Put four channels side by side, at least 16 pixels. */
INLINE void side_by_side(uint8_t *to, const uint8_t *a, const uint8_t *b, const uint8_t *c, const uint8_t *d, int pixels)
{
    for (int pixel = 0; pixel < pixels; pixel += 16) {
        const int at = pixel < pixels - 16 ? pixel : pixels - 16;
        const __m128i one = _mm_loadu_si128((const __m128i *)(a + at)), other = _mm_loadu_si128((const __m128i *)(b + at));
        const __m128i third = _mm_loadu_si128((const __m128i *)(c + at)), fourth = _mm_loadu_si128((const __m128i *)(d + at));
        const __m128i low = _mm_unpacklo_epi8(one, other), next_low = _mm_unpacklo_epi8(third, fourth);
        const __m128i high = _mm_unpackhi_epi8(one, other), next_high = _mm_unpackhi_epi8(third, fourth);
        __m128i *const fours = (__m128i *)(to + 4 * at);
        _mm_storeu_si128(fours, _mm_unpacklo_epi16(low, next_low));
        _mm_storeu_si128(fours + 1, _mm_unpackhi_epi16(low, next_low));
        _mm_storeu_si128(fours + 2, _mm_unpacklo_epi16(high, next_high));
        _mm_storeu_si128(fours + 3, _mm_unpackhi_epi16(high, next_high));
    }
}

static const uint64_t masks[8][4] = {
    {0x0000000000000000, 0x0000000000000000, 0x0000000000000000, 0x0000000000000000},
    {0x3333333333333333, 0x3333333333333333, 0xcccccccccccccccc, 0xcccccccccccccccc},
    {0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 0x5555555555555555, 0xaaaaaaaaaaaaaaaa},
    {0x9999999999999999, 0x6666666666666666, 0x6666666666666666, 0x9999999999999999},
    {0x1111111111111111, 0x2222222222222222, 0x4444444444444444, 0x8888888888888888},
    {0x2222222222222222, 0x1111111111111111, 0x8888888888888888, 0x4444444444444444},
    {0x4444444444444444, 0x8888888888888888, 0x1111111111111111, 0x2222222222222222},
    {0x8888888888888888, 0x4444444444444444, 0x2222222222222222, 0x1111111111111111},
};

/* How far a vector of a tile lies from the tile's first pixel: there are `across` in a row, and rows are `pitch` pixels apart. */
INLINE int pixel_of(int v, int across, int pitch) { return v / across * pitch + v % across * 16; }

/* Add blocks of one split to the sums of four outputs, each of so many vectors; without a split they have one place. */
INLINE void gain_blocks(__m512i *sum, int vectors, int across, int pitch, int split, const __mmask64 *from_first, const uint8_t *near, uint32_t blocks,
                        const uint16_t *place, const int8_t *weight)
{
    for (; blocks; blocks--, weight += 16) {
        const uint8_t *const first = near + 4 * *place++, *const second = split ? near + 4 * *place++ : first;
        __m512i weights[4];
        UNROLL
        for (int a = 0; a < 4; a++) {
            int32_t four;
            memcpy(&four, weight + 4 * a, sizeof four);
            weights[a] = _mm512_set1_epi32(four);
        }
        UNROLL
        for (int v = 0; v < vectors; v++) {
            __m512i one = _mm512_loadu_si512(first + 4 * pixel_of(v, across, pitch)), other = one;
            KEEP(one);
            if (split) {
                other = _mm512_loadu_si512(second + 4 * pixel_of(v, across, pitch));
                KEEP(other);
            }
            UNROLL
            for (int a = 0; a < 4; a++) {
                const __m512i bytes = split ? _mm512_mask_blend_epi8(from_first[a], other, one) : one;
                sum[a * vectors + v] = _mm512_dpbusd_epi32(sum[a * vectors + v], bytes, weights[a]);
                KEEP(sum[a * vectors + v]);
            }
        }
    }
}

/* Store the levels of an output, of up to four vectors of sums, of which the first is number `from` of the tile. */
INLINE void store_blocks(uint8_t *to, const __m512i *sum, int from, int vectors, int across, int pitch, float factor, int largest)
{
    __m512i level[4];
    UNROLL
    for (int v = 0; v < 4; v++)
        level[v] = levels_64(sum[v < vectors ? v : 0], 0, factor, largest);
    const __m512i low = _mm512_packs_epi32(level[0], level[1]), high = _mm512_packs_epi32(level[2], level[3]);
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = _mm512_permutexvar_epi32(in_order, _mm512_packus_epi16(low, high));
    if (across >= from + vectors && vectors >= 4) {
        _mm512_storeu_si512(to + 16 * from, bytes);
        return;
    }
    _mm_storeu_si128((__m128i *)(to + pixel_of(from, across, pitch)), _mm512_castsi512_si128(bytes));
    if (vectors > 1)
        _mm_storeu_si128((__m128i *)(to + pixel_of(from + 1, across, pitch)), _mm512_extracti32x4_epi32(bytes, 1));
    if (vectors > 2)
        _mm_storeu_si128((__m128i *)(to + pixel_of(from + 2, across, pitch)), _mm512_extracti32x4_epi32(bytes, 2));
    if (vectors > 3)
        _mm_storeu_si128((__m128i *)(to + pixel_of(from + 3, across, pitch)), _mm512_extracti32x4_epi32(bytes, 3));
}

/* The tables of a layer, from its first group of four outputs on. */
struct blocks {
    const uint32_t *count; /* of each split */
    const uint16_t *place;
    const int8_t *weight;
    const uint32_t *output; /* where its plane begins */
    const int32_t *bias;
    const float *factor;
};

/* Skip groups whose outputs are another thread's. */
INLINE struct blocks skip_blocks(struct blocks of, int groups)
{
    for (int list = 0; list < 8 * groups; list++) {
        const uint32_t blocks = *of.count++;
        of.place += list % 8 ? 2 * blocks : blocks;
        of.weight += 16 * blocks;
    }
    of.output += 4 * groups;
    of.bias += 4 * groups;
    of.factor += 4 * groups;
    return of;
}

/* Compute a tile of so many vectors of all outputs. Bit s of `splits` is set where the layer has blocks of the split number s. */
INLINE void tile_of_blocks(int vectors, int across, int pitch, int merged, const uint8_t *near, struct blocks of, int outputs,
                           uint8_t *y, int largest)
{
    for (; outputs > 0; outputs -= 4, of.count += 8, of.output += 4, of.bias += 4, of.factor += 4) {
        __m512i sum[4 * 6];
        UNROLL
        for (int a = 0; a < 4; a++) {
            UNROLL
            for (int v = 0; v < vectors; v++)
                sum[a * vectors + v] = _mm512_set1_epi32(of.bias[a]);
        }
        gain_blocks(sum, vectors, across, pitch, 0, 0, near, *of.count, of.place, of.weight);
        of.place += *of.count;
        of.weight += 16 * *of.count;
        if (merged)
            for (int s = 1; s < 8; s++) {
                __mmask64 from_first[4];
                UNROLL
                for (int a = 0; a < 4; a++)
                    from_first[a] = masks[s][a];
                gain_blocks(sum, vectors, across, pitch, 1, from_first, near, of.count[s], of.place, of.weight);
                of.place += 2 * of.count[s];
                of.weight += 16 * of.count[s];
            }
        UNROLL
        for (int a = 0; a < 4; a++) {
            if (a < outputs) {
                uint8_t *const to = y + of.output[a];
                store_blocks(to, sum + a * vectors, 0, vectors, across, pitch, of.factor[a], largest);
                if (vectors > 4)
                    store_blocks(to, sum + a * vectors + 4, 4, vectors - 4, across, pitch, of.factor[a], largest);
            }
        }
    }
}
#endif
