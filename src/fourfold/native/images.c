/* Images, and what makes columns of them. */

/* uint8 images of so many features each; the network sees the pixel p of a feature as scale p + offset, rounded twice. */
struct images {
    int64_t features;
    const uint8_t *pixels;
    const float *scale, *offset; /* of each feature */
};

/* Copy x, (batch, features) with any strides, to (features, width), with zeros behind the batch. */
static void to_columns(int64_t batch, int64_t features, int64_t batch_stride, int64_t feature_stride, const float *x,
                       int64_t width, float *columns)
{
    enum { BLOCK = 16 }; /* features read together are a cache line */
    for (int64_t first = 0; first < features; first += BLOCK) {
        int64_t last = first + BLOCK < features ? first + BLOCK : features;
        if (batch_stride == 1)
            for (int64_t f = first; f < last; f++)
                memcpy(columns + f * width, x + f * feature_stride, batch * sizeof *x);
        else
            for (int64_t b = 0; b < batch; b++)
                for (int64_t f = first; f < last; f++)
                    columns[f * width + b] = x[b * batch_stride + f * feature_stride];
        for (int64_t f = first; f < last; f++)
            memset(columns + f * width + batch, 0, (width - batch) * sizeof *x);
    }
}

/* Bytes of a and b in turn: those of the first halves to both[0], those of the second halves to both[1]. */
INLINE void interleave(bytes a, bytes b, bytes both[2])
{
    both[0] = SHUFFLE_BYTES(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    both[1] = SHUFFLE_BYTES(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/* Turn 16 rows of 16 bytes into columns. */
INLINE void transpose(bytes block[16])
{
    for (int stage = 0; stage < 4; stage++) {
        bytes next[16];
        for (int i = 0; i < 8; i++)
            interleave(block[i], block[i + 8], next + 2 * i);
        memcpy(block, next, sizeof next);
    }
}

/* The numbers that 16 bytes are. */
INLINE void widen(bytes narrow, four wide[4])
{
    const bytes zero = {0}; /* bytes between zeros are whole numbers, as the first byte is the lowest */
    bytes half[2], quarter[4];
    interleave(narrow, zero, half);
    for (int i = 0; i < 2; i++)
        interleave(half[i], zero, quarter + 2 * i);
    for (int i = 0; i < 4; i++)
        wide[i] = __builtin_convertvector((four_counts)quarter[i], four);
}

/* Fetch a batch of images, by their numbers, to (features, width); features that no weight meets are left as they are. */
static void fetch(const struct images *images, const int64_t *member, int64_t batch, int64_t width, const uint8_t *met,
                  float *columns)
{
    int64_t features = images->features;
    for (int64_t first = 0; first < features; first += 16) {
        int64_t count = features - first < 16 ? features - first : 16;
        if (!memchr(met + first, 1, count))
            continue;
        for (int64_t place = 0; place < width; place += 16) {
            bytes block[16] = {{0}};
            for (int64_t i = 0; i < 16 && place + i < batch; i++) {
                const uint8_t *pixels = images->pixels + member[place + i] * features + first;
                if (count == 16)
                    memcpy(block + i, pixels, 16);
                else
                    memcpy(block + i, pixels, count);
            }
            transpose(block);
            for (int64_t f = 0; f < count; f++) {
                if (!met[first + f])
                    continue;
                float scale = images->scale[first + f], offset = images->offset[first + f];
                float *to = columns + (first + f) * width + place;
                four pixels[4];
                widen(block[f], pixels);
                for (int i = 0; i < 4; i++)
                    pixels[i] *= scale;
                __asm__("" : "+m"(pixels)); /* or the compiler would fuse product and sum, and round once */
                for (int i = 0; i < 4; i++)
                    *(four *)(to + 4 * i) = pixels[i] + offset;
            }
        }
    }
}

/* Begin to bring a batch of images that will be fetched after this one's step into the cache. */
static void expect(const struct images *images, const int64_t *member, int64_t batch)
{
    enum { LINE = 64 };
    for (int64_t b = 0; b < batch; b++)
        for (int64_t f = 0; f < images->features; f += LINE)
            __builtin_prefetch(images->pixels + member[b] * images->features + f, 0, 2);
}
