/* Training steps of a sparse perceptron.
 *
 * Matrices of activations hold a feature a row: (features, width), width being the batch padded to a multiple of 16, and
 * every row beginning at a multiple of 64 bytes. An entry of the weight matrix then meets whole vectors of the batch: a row
 * of the product stays in registers while the row's entries are walked, with no gather. Columns behind the batch hold
 * anything finite in activations, and zeros in gradients.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
#define WIDE (64 / LANES) /* vectors of a wide tile: 64 columns */
#define NARROW (16 / LANES)

#define INLINE static inline __attribute__((always_inline))
/* Inlined into the loop over tiles, a tile's loop has an address for each vector, which GCC fetches from memory every time. */
#define APART static __attribute__((noinline))
typedef float vector __attribute__((vector_size(4 * LANES), may_alias));
typedef float eight __attribute__((vector_size(32)));
typedef float four __attribute__((vector_size(16), may_alias));
typedef int32_t eight_counts __attribute__((vector_size(32)));
typedef int32_t four_counts __attribute__((vector_size(16)));
typedef uint8_t bytes __attribute__((vector_size(16)));

/* The elements of a and b that are numbered, those of b after those of a. */
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#define SHUFFLE_BYTES SHUFFLE
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (eight_counts){__VA_ARGS__})
#define SHUFFLE_BYTES(a, b, ...) __builtin_shuffle(a, b, (bytes){__VA_ARGS__})
#endif

/* Sum a vector to eight numbers. */
INLINE eight fold(vector sum)
{
    eight part[LANES / 8];
    memcpy(part, &sum, sizeof part);
    return LANES == 8 ? part[0] : part[0] + part[LANES / 8 - 1];
}

/* A sparse matrix, block of columns by block of columns: in block b, row r has the entries start[b rows + r] ... the next
 * start. The inputs that a block meets stay in the first-level cache while its rows are walked. An entry is the weight number
 * `source`, or minus the weight whose number is `source` less the number of weights. */
struct entries {
    int64_t blocks, rows;
    const int32_t *start, *column, *source;
};

/* A linear layer of `weights` kept weights. */
struct layer {
    struct entries matrix, transpose;
    int64_t weights;
    const float *weight, *bias;
    float *weight_gradient, *bias_gradient;
    float *both, *both_gradient; /* room for the weights and minus the weights; NULL where no entry is minus one */
    float *input, *output, *input_gradient, *output_gradient; /* (features, width) */
};

/* Layers with a ReLU after all but the last, and the optimiser of all their `count` parameters, which lie in one piece. */
struct perceptron {
    int64_t num_layers;
    const struct layer *layers;
    const uint8_t *met; /* which inputs a weight meets */
    int64_t count;
    float *parameters, *gradient, *mean, *square;
    int64_t adam, nesterov;
    double beta1, beta2, epsilon, momentum, decay;
};

/* uint8 images of so many features each; the network sees the pixel p of a feature as scale p + offset, rounded twice. */
struct images {
    int64_t features;
    const uint8_t *pixels;
    const float *scale, *offset; /* of each feature */
};

static int64_t padded(int64_t batch)
{
    return (batch + 15) / 16 * 16;
}

INLINE void product_tile(const struct entries *matrix, const float *weight, const float *bias, const float *x, int64_t width,
                         float *y, const int vectors)
{
    const int32_t *start = matrix->start, *column = matrix->column, *source = matrix->source;
    for (int64_t block = 0; block < matrix->blocks; block++, start += matrix->rows)
        for (int64_t row = 0; row < matrix->rows; row++) {
            vector *to = (vector *)(y + row * width), sum[WIDE];
            if (block && start[row] == start[row + 1])
                continue;
            float first = bias ? bias[row] : 0;
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                if (block)
                    sum[v] = to[v];
                else
                    sum[v] = (vector){0} + first;
            for (int32_t e = start[row]; e < start[row + 1]; e++) {
                const vector *from = (const vector *)(x + column[e] * width);
                float scale = weight[source[e]];
#pragma GCC unroll 8
                for (int v = 0; v < vectors; v++)
                    sum[v] += scale * from[v];
            }
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                to[v] = sum[v];
        }
}

APART void product_wide(const struct entries *matrix, const float *weight, const float *bias, const float *x, int64_t width,
                        float *y)
{
    product_tile(matrix, weight, bias, x, width, y, WIDE);
}

/* y = matrix x + bias: x (columns, width), y (rows, width); no bias where it is NULL. */
static void product(const struct entries *matrix, const float *weight, const float *bias, const float *x, int64_t width,
                    float *y)
{
    int64_t first = 0;
    for (; first + 64 <= width; first += 64)
        product_wide(matrix, weight, bias, x + first, width, y + first);
    for (; first < width; first += 16)
        product_tile(matrix, weight, bias, x + first, width, y + first, NARROW);
}

/* Sum the products of two rows, over some vectors, to eight numbers. */
INLINE eight dot(const vector *at, const float *x, const int vectors)
{
    const vector *from = (const vector *)x;
    vector even = at[0] * from[0], odd = {0};
#pragma GCC unroll 8
    for (int v = 1; v < vectors; v++)
        if (v % 2)
            odd += at[v] * from[v];
        else
            even += at[v] * from[v];
    return fold(even + odd);
}

/* The totals of a, b, c and d. */
INLINE four totals(eight a, eight b, eight c, eight d)
{
    eight ab = SHUFFLE(a, b, 0, 8, 2, 10, 4, 12, 6, 14) + SHUFFLE(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
    eight cd = SHUFFLE(c, d, 0, 8, 2, 10, 4, 12, 6, 14) + SHUFFLE(c, d, 1, 9, 3, 11, 5, 13, 7, 15);
    eight all = SHUFFLE(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) + SHUFFLE(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    four half[2];
    memcpy(half, &all, sizeof half);
    return half[0] + half[1];
}

INLINE void gradient_tile(const struct entries *matrix, const float *g, const float *x, int64_t width,
                          float *weight_gradient, float *bias_gradient, const int vectors)
{
    const int32_t *start = matrix->start, *column = matrix->column, *source = matrix->source;
    const eight none = {0};
    for (int64_t block = 0; block < matrix->blocks; block++, start += matrix->rows)
        for (int64_t row = 0; row < matrix->rows; row++) {
            int32_t e = start[row], end = start[row + 1];
            if (block && e == end)
                continue;
            const vector *outer = (const vector *)(g + row * width);
            vector at[WIDE], all = {0};
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                all += at[v] = outer[v];
            if (!block)
                bias_gradient[row] += totals(fold(all), none, none, none)[0];
            for (; e + 4 <= end; e += 4) {
                eight sums[4];
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++)
                    sums[i] = dot(at, x + column[e + i] * width, vectors);
                four found = totals(sums[0], sums[1], sums[2], sums[3]);
#pragma GCC unroll 4
                for (int i = 0; i < 4; i++)
                    weight_gradient[source[e + i]] += found[i];
            }
            for (; e < end; e++)
                weight_gradient[source[e]] += totals(dot(at, x + column[e] * width, vectors), none, none, none)[0];
        }
}

APART void gradient_wide(const struct entries *matrix, const float *g, const float *x, int64_t width, float *weight_gradient,
                         float *bias_gradient)
{
    gradient_tile(matrix, g, x, width, weight_gradient, bias_gradient, WIDE);
}

/* Gradients of a layer's weights and bias. */
static void gradient(const struct layer *layer, int64_t width)
{
    const float *g = layer->output_gradient, *x = layer->input;
    float *of_weight = layer->both ? layer->both_gradient : layer->weight_gradient, *of_bias = layer->bias_gradient;
    memset(of_weight, 0, (layer->both ? 2 : 1) * layer->weights * sizeof *of_weight);
    memset(of_bias, 0, layer->matrix.rows * sizeof *of_bias);
    int64_t first = 0;
    for (; first + 64 <= width; first += 64)
        gradient_wide(&layer->matrix, g + first, x + first, width, of_weight, of_bias);
    for (; first < width; first += 16)
        gradient_tile(&layer->matrix, g + first, x + first, width, of_weight, of_bias, NARROW);
    if (layer->both)
        for (int64_t i = 0; i < layer->weights; i++)
            layer->weight_gradient[i] = of_weight[i] - of_weight[layer->weights + i];
}

/* y = max(y, 0) */
static void relu(int64_t count, float *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = y[i] < 0 ? 0 : y[i]; /* nan stays nan */
}

/* g = 0 where y, the output of the activation, is not positive. */
static void relu_backward(int64_t count, const float *y, float *g)
{
    for (int64_t i = 0; i < count; i++)
        g[i] = y[i] <= 0 ? 0 : g[i];
}

/* Return the mean cross entropy of the batch, and its gradient in g: logits, g (classes, width). */
static double cross_entropy(int64_t batch, int64_t classes, int64_t width, const float *logits, const int64_t *labels, float *g)
{
    double sum = 0;
    for (int64_t b = 0; b < batch; b++) {
        float largest = logits[b], total = 0;
        for (int64_t c = 1; c < classes; c++)
            largest = logits[c * width + b] > largest ? logits[c * width + b] : largest;
        for (int64_t c = 0; c < classes; c++)
            total += g[c * width + b] = expf(logits[c * width + b] - largest);
        for (int64_t c = 0; c < classes; c++)
            g[c * width + b] /= total * batch;
        g[labels[b] * width + b] -= 1.0f / batch;
        sum += logf(total) + largest - logits[labels[b] * width + b];
    }
    for (int64_t c = 0; c < classes; c++)
        memset(g + c * width + batch, 0, (width - batch) * sizeof *g);
    return sum / batch;
}

/* Adam (Kingma & Ba 2015) as torch computes it; step counts from 1. */
static void adam(const struct perceptron *of, int64_t step, double rate)
{
    float *weight = of->parameters, *mean = of->mean, *square = of->square;
    const float *gradient = of->gradient;
    float size = rate / (1 - pow(of->beta1, step)), correction = sqrt(1 - pow(of->beta2, step));
    float first = 1 - of->beta1, second = of->beta2, rest = 1 - of->beta2, eps = of->epsilon, shrink = of->decay;
    for (int64_t i = 0; i < of->count; i++) {
        float g = gradient[i] + shrink * weight[i];
        mean[i] += first * (g - mean[i]);
        square[i] = second * square[i] + rest * g * g;
        weight[i] -= size * mean[i] / (sqrtf(square[i]) / correction + eps);
    }
}

/* Stochastic gradient descent with momentum as torch computes it; step counts from 1. */
static void sgd(const struct perceptron *of, int64_t step, double rate)
{
    float *weight = of->parameters, *velocity = of->mean;
    const float *gradient = of->gradient;
    float size = rate, keep = step == 1 ? 0 : of->momentum, ahead = of->momentum, shrink = of->decay;
    for (int64_t i = 0; i < of->count; i++) {
        float g = gradient[i] + shrink * weight[i];
        velocity[i] = keep * velocity[i] + g;
        weight[i] -= size * (of->nesterov ? g + ahead * velocity[i] : velocity[i]);
    }
}

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

/* What the sources of a layer's entries number. */
static const float *entry_values(const struct layer *layer)
{
    return layer->both ? layer->both : layer->weight;
}

/* From the first layer's input to the last one's output. */
static void forward(const struct perceptron *of, int64_t width)
{
    for (int64_t l = 0; l < of->num_layers; l++) {
        const struct layer *layer = of->layers + l;
        if (layer->both)
            for (int64_t i = 0; i < layer->weights; i++)
                layer->both[layer->weights + i] = -(layer->both[i] = layer->weight[i]);
        product(&layer->matrix, entry_values(layer), layer->bias, layer->input, width, layer->output);
        if (l + 1 < of->num_layers)
            relu(layer->matrix.rows * width, layer->output);
    }
}

/* From the last layer's gradient to those of all weights. */
static void backward(const struct perceptron *of, int64_t width)
{
    for (int64_t l = of->num_layers; l--;) {
        const struct layer *layer = of->layers + l;
        gradient(layer, width);
        if (l) {
            product(&layer->transpose, entry_values(layer), NULL, layer->output_gradient, width, layer->input_gradient);
            relu_backward(layer->transpose.rows * width, layer->input, layer->input_gradient);
        }
    }
}

/* Take a step on the batch that is in the first layer's input; return the mean loss before it.
 * If a label is no class that is nan, and nothing is learned. */
static double learn(const struct perceptron *of, int64_t batch, const int64_t *labels, int64_t step, double rate)
{
    const struct layer *last = of->layers + of->num_layers - 1;
    int64_t width = padded(batch), classes = last->matrix.rows;
    for (int64_t b = 0; b < batch; b++)
        if (labels[b] < 0 || labels[b] >= classes)
            return NAN;
    forward(of, width);
    double loss = cross_entropy(batch, classes, width, last->output, labels, last->output_gradient);
    backward(of, width);
    (of->adam ? adam : sgd)(of, step, rate);
    return loss;
}

/* Take a step on images (batch, features) with any strides; step counts from 1. Return the mean loss before it. */
double take(const struct perceptron *of, int64_t batch, int64_t features, int64_t batch_stride, int64_t feature_stride,
            const float *images, const int64_t *labels, int64_t step, double rate)
{
    to_columns(batch, features, batch_stride, feature_stride, images, padded(batch), of->layers->input);
    return learn(of, batch, labels, step, rate);
}

/* Take steps on `count` images in the order of their numbers and labels, the last batch perhaps smaller; the first step
 * counts as `step`, and each has its rate. Return `sum` and the images' losses, each before its step, added up one step after
 * the other: in whichever parts an epoch is taken, its sum is the same to the last bit. */
double take_many(const struct perceptron *of, const struct images *images, int64_t count, const int64_t *members,
                 const int64_t *labels, int64_t batch_size, int64_t step, const double *rates, double sum)
{
    for (int64_t first = 0; first < count; first += batch_size) {
        int64_t batch = count - first < batch_size ? count - first : batch_size;
        fetch(images, members + first, batch, padded(batch), of->met, of->layers->input);
        int64_t next = first + batch, rest = count - next;
        expect(images, members + next, rest < batch_size ? rest : batch_size);
        sum += learn(of, batch, labels + first, step++, *rates++) * batch;
    }
    return sum;
}

/* Count the images that are classified right, and return the sum of the losses of all. */
double evaluate(const struct perceptron *of, const struct images *images, int64_t count, const int64_t *members,
                const int64_t *labels, int64_t batch_size, int64_t *right)
{
    const struct layer *last = of->layers + of->num_layers - 1;
    double sum = 0;
    *right = 0;
    for (int64_t first = 0; first < count; first += batch_size) {
        int64_t batch = count - first < batch_size ? count - first : batch_size, width = padded(batch);
        fetch(images, members + first, batch, width, of->met, of->layers->input);
        forward(of, width);
        sum += cross_entropy(batch, last->matrix.rows, width, last->output, labels + first, last->output_gradient) * batch;
        for (int64_t b = 0; b < batch; b++) {
            int64_t best = 0;
            for (int64_t c = 1; c < last->matrix.rows; c++)
                if (last->output[c * width + b] > last->output[best * width + b])
                    best = c;
            *right += best == labels[first + b];
        }
    }
    return sum;
}
