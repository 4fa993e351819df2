// Convolutions of an algebra by its few products (nn/few_products.py), in training: forward, and the gradients of input and weight.
//
// A layer is `products` independent real convolutions between a mixing of the input's components and one of the output's.
// Both mixings happen where data is copied anyway: `pack` mixes while it brings a strip of the image into planes, and `unmix`
// while it writes the outputs. So the activations in memory are read once and written once, and the arithmetic is half of the
// real convolution's for quaternions.
//
// Activations are channels last: [image][row][column][component][channel], float32 or bfloat16 (BF16). What the kernels read are
// `word`s of 4 bytes: one float32, or two bfloat16 of neighbouring channels (of neighbouring pixels where the weight's gradient is
// summed over pixels). Sums are float32. A vector has LANES output channels.

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#else
#define LANES 8
#endif

typedef int64_t count;
typedef uint32_t word;
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef word words __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2)));

#ifdef BF16
#include <immintrin.h>
typedef uint16_t element;
#define PER_WORD 2
#else
typedef float element;
#define PER_WORD 1
#endif

#define INLINE static inline __attribute__((always_inline))

// A convolution; the same in native/convolution.py.
typedef struct {
    count images, height, width;          // of the input
    count rows, columns;                  // of the output
    count kernel_rows, kernel_columns;    // every stride is 1
    count top, left;                      // padding before the first row and column
    count components, products;
    count inputs, outputs;                // channels of each component
    const float *mix;                     // [products][components], of the input
    const float *unmix;                   // [components][products], of the output
} convolution;

// --- vectors ---------------------------------------------------------------------------------------------------------

INLINE vector load(const element *at) {
#ifdef BF16
    return (vector)(__builtin_convertvector(*(const halves *)at, words) << 16);
#else
    return *(const vector *)at;
#endif
}

#ifdef BF16
INLINE halves rounded(vector value) { return (halves)_mm512_cvtneps_pbh((__m512)value); }

INLINE vector accumulate(vector sum, const word *left, words right) {
    return (vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)*left), (__m512bh)right);
}
#else
INLINE vector rounded(vector value) { return value; }

INLINE vector accumulate(vector sum, const word *left, words right) {
    float factor;
    memcpy(&factor, left, sizeof factor);
    return sum + factor * (vector)right;
}
#endif

// Load the first channels of LANES, zeros for the others.
INLINE vector load_part(const element *at, count channels) {
    if (channels >= LANES) return load(at);
    element part[LANES] = {0};
    memcpy(part, at, channels * sizeof *part);
    return load(part);
}

// Store the first bytes of a vector; all of them in one piece.
INLINE void store_part(void *to, const void *from, count bytes, count all) {
    if (bytes == all) memcpy(to, from, all);
    else memcpy(to, from, bytes);
}

// --- strips ----------------------------------------------------------------------------------------------------------

// Output rows of one image, packed with the input rows that they see. A chunk is as many strips as fit into the cache.
typedef struct {
    count height;                     // output rows of a strip; the last one of an image may have fewer
    count per_image, strips;
    count input_rows, pitch;          // of a strip, packed: rows, and pixels a row
    count channels, pixel;            // words of a pixel, and those from one pixel to the next
    count plane;                      // words of a packed strip
} division;

// Return the least of the distances that kernels are compiled for. The largest are no powers of two, so that the pixels of a
// tile do not share a few lines of the cache.
static count distance_of(count channels) {
    static const count distances[] = {8, 16, 32, 80, 144, 272};
    for (int i = 0; i < 6; i++)
        if (channels <= distances[i]) return distances[i];
    return 0;
}

// Return how many neighbours of a row a tile sums; its other outputs are those of the rows below.
static count across_of(const convolution *c) { return c->columns > 8 ? 16 : c->columns > 4 ? 8 : c->columns > 2 ? 4 : 2; }

static division divide(const convolution *c, count height, int pairs_of_pixels) {
    division d;
    d.height = height;
    d.per_image = (c->rows + height - 1) / height;
    d.strips = d.per_image * c->images;
    d.input_rows = height - 1 + c->kernel_rows;
    // A tile, and a pair of pixels, may reach beyond the last column.
    d.pitch = (c->columns + across_of(c) - 1) / across_of(c) * across_of(c) + c->kernel_columns;
    d.channels = pairs_of_pixels ? c->inputs : (c->inputs + PER_WORD - 1) / PER_WORD;
    d.pixel = distance_of(d.channels);
    d.plane = d.input_rows * d.pitch * d.pixel;
    return d;
}

INLINE count rows_of(const convolution *c, const division *d, count strip) {
    count first = strip % d->per_image * d->height;
    return c->rows - first < d->height ? c->rows - first : d->height;
}

INLINE count place_of(const division *d, count row, count column) { return (row * d->pitch + column) * d->pixel; }

INLINE void clear(word *packed, const division *d, count row, count first, count last) {
    if (first < last) memset(packed + place_of(d, row, first), 0, (last - first) * d->pixel * sizeof *packed);
}

// Mix the components of every pixel that a strip sees: `packed` words [product][strip of the chunk][plane].
INLINE void pack_mixed(const int components, const int products, const int pairs_of_pixels, const convolution *c, const division *d,
                       const element *input, count strip, count slot, count slots, word *packed) {
    const count first_row = strip % d->per_image * d->height - c->top, product_stride = slots * d->plane;
    const count right = c->left + c->width < d->pitch ? c->left + c->width : d->pitch;
    const element *image = input + strip / d->per_image * c->height * c->width * components * c->inputs;
    packed += slot * d->plane;
    for (count y = 0; y < d->input_rows; y++) {
        const count row = first_row + y;
        const int is_padding = row < 0 || row >= c->height;
        for (int p = 0; p < products; p++) {
            clear(packed + p * product_stride, d, y, 0, is_padding ? d->pitch : c->left);
            if (!is_padding) clear(packed + p * product_stride, d, y, right, d->pitch);
        }
        for (count channel = 0; channel < c->inputs && !is_padding; channel += LANES) {
            const count many = c->inputs - channel < LANES ? c->inputs - channel : LANES;
            const element *pixel = image + row * c->width * components * c->inputs + channel;
            word *target = packed + place_of(d, y, c->left) + (pairs_of_pixels ? channel : channel / PER_WORD);
            words before[8] = {0};
            for (count x = c->left; x < right; x++, pixel += components * c->inputs, target += d->pixel) {
                vector part[4];
                for (int k = 0; k < components; k++) part[k] = load_part(pixel + k * c->inputs, many);
                for (int p = 0; p < products; p++) {
                    vector sum = part[0] * c->mix[p * components];
                    for (int k = 1; k < components; k++) sum += part[k] * c->mix[p * components + k];
                    const __typeof__(rounded(sum)) values = rounded(sum);
                    word *at = target + p * product_stride;
#ifdef BF16
                    if (pairs_of_pixels) {  // each pixel with the one after it, which comes later
                        const words value = __builtin_convertvector(values, words), pair = before[p] | value << 16;
                        if (x > 0) store_part(at - d->pixel, &pair, many * sizeof(word), sizeof pair);
                        if (x + 1 == right) store_part(at, &value, many * sizeof(word), sizeof value);
                        before[p] = value;
                        continue;
                    }
#endif
                    store_part(at, &values, (many + PER_WORD - 1) / PER_WORD * sizeof(word), sizeof values);
                }
            }
        }
    }
}

INLINE void pack(const int pairs_of_pixels, const convolution *c, const division *d, const element *input, count strip, count slot,
                 count slots, word *packed) {
    if (c->components == 4 && c->products == 8) pack_mixed(4, 8, pairs_of_pixels, c, d, input, strip, slot, slots, packed);
    else pack_mixed(c->components, c->products, pairs_of_pixels, c, d, input, strip, slot, slots, packed);
}

// --- convolving --------------------------------------------------------------------------------------------------------

// Sum 16 outputs, `across` neighbours of `16 / across` rows, over all taps: LANES channels of each.
INLINE void tile(const int across, const int pixel, const word *const *rows, const words *weights, count channels, const count *taps,
                 count num_taps, vector *sums) {
    for (int i = 0; i < 16; i++) sums[i] = (vector){0};
    for (count tap = 0; tap < num_taps; tap++)
        for (count at = taps[tap], end = at + channels; at < end; at++) {
            const words weight = *weights++;
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) sums[i] = accumulate(sums[i], rows[i / across] + at + i % across * pixel, weight);
        }
}

// Convolve the strips of a chunk for one product: `sums` [row of the chunk][column][output channel].
INLINE void convolve(const int across, const int pixel, const convolution *c, const division *d, count slots, const word *packed,
                     const words *weights, const count *taps, float *sums) {
    const int down = 16 / across;
    const count num_taps = c->kernel_rows * c->kernel_columns;
    const count blocks = (c->outputs + LANES - 1) / LANES, total = slots * d->height;
    for (count block = 0; block < blocks; block++, weights += d->channels * num_taps)
        for (count row = 0; row < total; row += down)
            for (count column = 0; column < c->columns; column += across) {
                const word *rows[16];
                for (int i = 0; i < down; i++) {
                    const count at = row + i < total ? row + i : total - 1;
                    rows[i] = packed + at / d->height * d->plane + (at % d->height * d->pitch + column) * pixel;
                }
                vector sum[16];
                tile(across, pixel, rows, weights, d->channels, taps, num_taps, sum);
                for (int i = 0; i < 16; i++) {
                    const count r = row + i / across, x = column + i % across;
                    if (r < total && x < c->columns) *(vector *)(sums + ((r * c->columns + x) * blocks + block) * LANES) = sum[i];
                }
            }
}

INLINE void convolve_across(const int pixel, const convolution *c, const division *d, count slots, const word *packed,
                            const words *weights, const count *taps, float *sums) {
    switch (across_of(c)) {
        case 16: convolve(16, pixel, c, d, slots, packed, weights, taps, sums); break;
        case 8: convolve(8, pixel, c, d, slots, packed, weights, taps, sums); break;
        case 4: convolve(4, pixel, c, d, slots, packed, weights, taps, sums); break;
        default: convolve(2, pixel, c, d, slots, packed, weights, taps, sums);
    }
}

// Mix the products of a strip's outputs, add the bias, and write them.
INLINE void unmix_products(const int components, const int products, const convolution *c, const division *d, count strip, count slot,
                           count slots, const float *sums, const float *bias, element *output) {
    const count blocks = (c->outputs + LANES - 1) / LANES, pixels = rows_of(c, d, strip) * c->columns;
    const count product_stride = slots * d->height * c->columns * blocks * LANES;
    const count first = (strip / d->per_image * c->rows + strip % d->per_image * d->height) * c->columns;
    for (count pixel = 0; pixel < pixels; pixel++)
        for (count block = 0; block < blocks; block++) {
            const float *at = sums + ((slot * d->height * c->columns + pixel) * blocks + block) * LANES;
            const count channel = block * LANES, many = c->outputs - channel < LANES ? c->outputs - channel : LANES;
            vector product[8];
            for (int p = 0; p < products; p++) product[p] = *(const vector *)(at + p * product_stride);
            for (int k = 0; k < components; k++) {
                vector sum = {0};
                if (bias) memcpy(&sum, bias + k * c->outputs + channel, many * sizeof *bias);
                for (int p = 0; p < products; p++) sum += product[p] * c->unmix[k * products + p];
                __typeof__(rounded(sum)) values = rounded(sum);
                element *to = output + ((first + pixel) * components + k) * c->outputs + channel;
                store_part(to, &values, many * sizeof *output, sizeof values);
            }
        }
}

static void unmix(const convolution *c, const division *d, count strip, count slot, count slots, const float *sums, const float *bias,
                  element *output) {
    if (c->components == 4 && c->products == 8) unmix_products(4, 8, c, d, strip, slot, slots, sums, bias, output);
    else unmix_products(c->components, c->products, c, d, strip, slot, slots, sums, bias, output);
}

// Convolve. `weights`: words [product][block of LANES outputs][tap][input word][LANES]; `bias`: float32 or 0;
// `height`: output rows of a strip; `slots`: strips of a chunk; `workspace`: see `workspace_bytes`.
void convolve_all(const convolution *c, const element *input, const words *weights, const float *bias, element *output,
                  count height, count slots, char *workspace) {
    const division d = divide(c, height, 0);
    const count blocks = (c->outputs + LANES - 1) / LANES, num_taps = c->kernel_rows * c->kernel_columns;
    count taps[num_taps];
    for (count i = 0; i < num_taps; i++) taps[i] = place_of(&d, i / c->kernel_columns, i % c->kernel_columns);
    word *packed = (word *)workspace;
    float *sums = (float *)(packed + c->products * slots * d.plane);
    for (count first = 0; first < d.strips; first += slots) {
        const count many = d.strips - first < slots ? d.strips - first : slots;
        for (count i = 0; i < many; i++) pack(0, c, &d, input, first + i, i, many, packed);
        for (count p = 0; p < c->products; p++) {
            const word *from = packed + p * many * d.plane;
            const words *with = weights + p * blocks * d.channels * num_taps;
            float *to = sums + p * many * height * c->columns * blocks * LANES;
            switch (d.pixel) {
                case 8: convolve_across(8, c, &d, many, from, with, taps, to); break;
                case 16: convolve_across(16, c, &d, many, from, with, taps, to); break;
                case 32: convolve_across(32, c, &d, many, from, with, taps, to); break;
                case 80: convolve_across(80, c, &d, many, from, with, taps, to); break;
                case 144: convolve_across(144, c, &d, many, from, with, taps, to); break;
                default: convolve_across(272, c, &d, many, from, with, taps, to);
            }
        }
        for (count i = 0; i < many; i++) unmix(c, &d, first + i, i, many, sums, bias, output);
    }
}

// --- the weight's gradient ---------------------------------------------------------------------------------------------

// Mix the components of a strip's output gradient: `packed` [product][block][strip of the chunk][row][pair of pixels][LANES].
INLINE void pack_gradient_mixed(const int components, const int products, const convolution *c, const division *d,
                                const element *gradient, count strip, count slot, count slots, words *packed) {
    const count blocks = (c->outputs + LANES - 1) / LANES, pairs = (c->columns + PER_WORD - 1) / PER_WORD;
    const count rows = rows_of(c, d, strip), first = strip / d->per_image * c->rows + strip % d->per_image * d->height;
    const count product_stride = blocks * slots * d->height * pairs;
    for (count block = 0; block < blocks; block++) {
        const count channel = block * LANES, many = c->outputs - channel < LANES ? c->outputs - channel : LANES;
        words *to = packed + (block * slots + slot) * d->height * pairs;
        for (count row = 0; row < d->height; row++)
            for (count pair = 0; pair < pairs; pair++, to++) {
                const element *pixel = gradient + ((first + row) * c->columns + pair * PER_WORD) * components * c->outputs + channel;
                const count left = row < rows ? c->columns - pair * PER_WORD : 0;
                vector part[PER_WORD][4];
                for (int half = 0; half < PER_WORD; half++)
                    for (int k = 0; k < components; k++)
                        part[half][k] = half < left ? load_part(pixel + (half * components + k) * c->outputs, many) : (vector){0};
                for (int p = 0; p < products; p++) {
                    words value = {0};
                    for (int half = 0; half < PER_WORD; half++) {
                        vector sum = part[half][0] * c->unmix[p];
                        for (int k = 1; k < components; k++) sum += part[half][k] * c->unmix[k * products + p];
#ifdef BF16
                        value |= __builtin_convertvector(rounded(sum), words) << (16 * half);
#else
                        value = (words)sum;
#endif
                    }
                    to[p * product_stride] = value;
                }
            }
    }
}

static void pack_gradient(const convolution *c, const division *d, const element *gradient, count strip, count slot, count slots,
                          words *packed) {
    if (c->components == 4 && c->products == 8) pack_gradient_mixed(4, 8, c, d, gradient, strip, slot, slots, packed);
    else pack_gradient_mixed(c->components, c->products, c, d, gradient, strip, slot, slots, packed);
}

#define SUMS 18  // 2 channels of 3 × 3 taps

// Add, for some taps of input channels, the products of a chunk's output gradient and input: LANES outputs of each.
INLINE void sum_taps(const int num_sums, const int pixel, const convolution *c, const division *d, count slots, const word *inputs,
                     const count *places, const words *gradient, vector *sums) {
    const count pairs = (c->columns + PER_WORD - 1) / PER_WORD;
    const int step = PER_WORD * pixel;
    vector sum[SUMS];
    for (int i = 0; i < num_sums; i++) sum[i] = sums[i];
    for (count slot = 0; slot < slots; slot++)
        for (count row = 0; row < d->height; row++) {
            const word *at = inputs + slot * d->plane + row * d->pitch * pixel;
            count pair = 0;
            for (; pair + 4 <= pairs; pair += 4, gradient += 4, at += 4 * step) {
                const words g0 = gradient[0], g1 = gradient[1], g2 = gradient[2], g3 = gradient[3];
#pragma GCC unroll 18
                for (int i = 0; i < num_sums; i++) {
                    const word *x = at + places[i];
                    sum[i] = accumulate(accumulate(accumulate(accumulate(sum[i], x, g0), x + step, g1), x + 2 * step, g2), x + 3 * step, g3);
                }
            }
            for (; pair < pairs; pair++, gradient++, at += step)
#pragma GCC unroll 18
                for (int i = 0; i < num_sums; i++) sum[i] = accumulate(sum[i], at + places[i], *gradient);
        }
    for (int i = 0; i < num_sums; i++) sums[i] = sum[i];
}

INLINE void sum_some(const int pixel, const convolution *c, const division *d, count slots, const word *inputs, const count *places,
                     count many, const words *gradient, vector *sums) {
    if (many == SUMS) sum_taps(SUMS, pixel, c, d, slots, inputs, places, gradient, sums);
    else if (many == 8) sum_taps(8, pixel, c, d, slots, inputs, places, gradient, sums);
    else sum_taps(1, pixel, c, d, slots, inputs, places, gradient, sums);
}

// Sum the gradient of the products' weights. `sums`: [product][block][input channel, tap][LANES], set to zero before.
void weight_gradient(const convolution *c, const element *input, const element *gradient, vector *sums, count height, count slots,
                     char *workspace) {
    const division d = divide(c, height, 1);
    const count blocks = (c->outputs + LANES - 1) / LANES, num_taps = c->kernel_rows * c->kernel_columns;
    const count pairs = (c->columns + PER_WORD - 1) / PER_WORD, places = c->inputs * num_taps;
    words *gradients = (words *)workspace;
    word *inputs = (word *)(gradients + c->products * blocks * slots * height * pairs);
    for (count first = 0; first < d.strips; first += slots) {
        const count many = d.strips - first < slots ? d.strips - first : slots;
        for (count i = 0; i < many; i++) {
            pack(1, c, &d, input, first + i, i, many, inputs);
            pack_gradient(c, &d, gradient, first + i, i, many, gradients);
        }
        for (count p = 0; p < c->products; p++)
            for (count start = 0, some; start < places; start += some) {
                some = places - start >= SUMS ? SUMS : places - start >= 8 ? 8 : 1;
                count place[SUMS];
                for (count i = 0; i < some; i++) {
                    const count channel = (start + i) / num_taps, tap = (start + i) % num_taps;
                    place[i] = place_of(&d, tap / c->kernel_columns, tap % c->kernel_columns) + channel;
                }
                for (count block = 0; block < blocks; block++) {
                    const word *from = inputs + p * many * d.plane;
                    const words *with = gradients + (p * blocks + block) * many * height * pairs;
                    vector *to = sums + (p * blocks + block) * places + start;
                    switch (d.pixel) {
                        case 8: sum_some(8, c, &d, many, from, place, some, with, to); break;
                        case 16: sum_some(16, c, &d, many, from, place, some, with, to); break;
                        case 32: sum_some(32, c, &d, many, from, place, some, with, to); break;
                        case 80: sum_some(80, c, &d, many, from, place, some, with, to); break;
                        case 144: sum_some(144, c, &d, many, from, place, some, with, to); break;
                        default: sum_some(272, c, &d, many, from, place, some, with, to);
                    }
                }
            }
    }
}

// Return the bytes of workspace that a convolution or, `gradient`, the weight's gradient takes with such strips.
count workspace_bytes(const convolution *c, count height, count slots, count gradient) {
    const division d = divide(c, height, gradient != 0);
    const count blocks = (c->outputs + LANES - 1) / LANES, pairs = (c->columns + PER_WORD - 1) / PER_WORD;
    const count beside = gradient ? height * pairs * sizeof(words) : height * c->columns * LANES * sizeof(float);
    return c->products * slots * (d.plane * sizeof(word) + blocks * beside) + 64;
}

count lanes(void) { return LANES; }
