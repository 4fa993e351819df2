/* A training step of a sparse perceptron, kernel by kernel.
 *
 * Matrices of activations hold a feature a row: (features, width), width being the batch padded to a multiple of 16, and
 * every row beginning at a multiple of 64 bytes. An entry of the weight matrix then meets whole vectors of the batch: a row
 * of the product stays in registers while the row's entries are walked, with no gather. Columns behind the batch hold
 * anything finite in activations, and in gradients the zeros that the caller put there.
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

typedef float vector __attribute__((vector_size(4 * LANES), may_alias));
#define INLINE static inline __attribute__((always_inline))

/* value[e] = sign[e] * weight[source[e]] */
void spread(int64_t entries, const int32_t *source, const float *sign, const float *weight, float *value)
{
    for (int64_t e = 0; e < entries; e++)
        value[e] = sign[e] * weight[source[e]];
}

/* Copy x, (batch, features) with any strides, to (features, width), with zeros behind the batch. */
void to_columns(int64_t batch, int64_t features, int64_t batch_stride, int64_t feature_stride, const float *x, int64_t width,
                float *columns)
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

INLINE void product_tile(int64_t rows, const int32_t *start, const int32_t *column, const float *value, const float *bias,
                         const float *x, int64_t width, float *y, const int vectors)
{
    for (int64_t row = 0; row < rows; row++) {
        vector sum[WIDE];
        float first = bias ? bias[row] : 0;
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sum[v] = (vector){0} + first;
        for (int32_t e = start[row]; e < start[row + 1]; e++) {
            const vector *from = (const vector *)(x + column[e] * width);
            float scale = value[e];
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                sum[v] += scale * from[v];
        }
        vector *to = (vector *)(y + row * width);
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            to[v] = sum[v];
    }
}

/* y = matrix x + bias: x (columns, width), y (rows, width); the entries of a row are start[row] ... start[row + 1]. */
void product(int64_t rows, const int32_t *start, const int32_t *column, const float *value, const float *bias, const float *x,
             int64_t width, float *y)
{
    int64_t first = 0;
    for (; first + 64 <= width; first += 64)
        product_tile(rows, start, column, value, bias, x + first, width, y + first, WIDE);
    for (; first < width; first += 16)
        product_tile(rows, start, column, value, bias, x + first, width, y + first, NARROW);
}

INLINE float total(vector sum)
{
    float result = 0;
#pragma GCC unroll 16
    for (int lane = 0; lane < LANES; lane++)
        result += sum[lane];
    return result;
}

INLINE void gradient_tile(int64_t rows, const int32_t *start, const int32_t *column, const int32_t *source, const float *sign,
                          const float *g, const float *x, int64_t width, float *weight_gradient, float *bias_gradient,
                          const int vectors)
{
    for (int64_t row = 0; row < rows; row++) {
        const vector *outer = (const vector *)(g + row * width);
        vector at[WIDE], all = {0};
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            all += at[v] = outer[v];
        bias_gradient[row] += total(all);
        for (int32_t e = start[row]; e < start[row + 1]; e++) {
            const vector *from = (const vector *)(x + column[e] * width);
            vector even = at[0] * from[0], odd = {0};
#pragma GCC unroll 8
            for (int v = 1; v < vectors; v++)
                if (v % 2)
                    odd += at[v] * from[v];
                else
                    even += at[v] * from[v];
            weight_gradient[source[e]] += sign[e] * total(even + odd);
        }
    }
}

/* Gradients of the weights behind the entries, and of the bias: g (rows, width), x (columns, width). */
void gradient(int64_t rows, const int32_t *start, const int32_t *column, const int32_t *source, const float *sign,
              const float *g, const float *x, int64_t width, int64_t weights, float *weight_gradient, float *bias_gradient)
{
    memset(weight_gradient, 0, weights * sizeof *g);
    memset(bias_gradient, 0, rows * sizeof *g);
    int64_t first = 0;
    for (; first + 64 <= width; first += 64)
        gradient_tile(rows, start, column, source, sign, g + first, x + first, width, weight_gradient, bias_gradient, WIDE);
    for (; first < width; first += 16)
        gradient_tile(rows, start, column, source, sign, g + first, x + first, width, weight_gradient, bias_gradient, NARROW);
}

/* y = max(y, 0) */
void relu(int64_t count, float *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = y[i] < 0 ? 0 : y[i]; /* nan stays nan */
}

/* g = 0 where y, the output of the activation, is not positive. */
void relu_backward(int64_t count, const float *y, float *g)
{
    for (int64_t i = 0; i < count; i++)
        g[i] = y[i] <= 0 ? 0 : g[i];
}

/* Mean cross entropy of the batch to *loss, and its gradient to g: logits, g (classes, width); nan if a label is no class. */
void cross_entropy(int64_t batch, int64_t classes, int64_t width, const float *logits, const int64_t *labels, float *g,
                   double *loss)
{
    double sum = 0;
    *loss = NAN;
    for (int64_t b = 0; b < batch; b++)
        if (labels[b] < 0 || labels[b] >= classes)
            return;
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
    *loss = sum / batch;
}

/* Adam (Kingma & Ba 2015) as torch computes it; step counts from 1. */
void adam(int64_t count, int64_t step, double rate, double beta1, double beta2, double epsilon, double decay, float *weight,
          const float *gradient, float *mean, float *square)
{
    float size = rate / (1 - pow(beta1, step)), correction = sqrt(1 - pow(beta2, step));
    float first = 1 - beta1, second = beta2, rest = 1 - beta2, eps = epsilon, shrink = decay;
    for (int64_t i = 0; i < count; i++) {
        float g = gradient[i] + shrink * weight[i];
        mean[i] += first * (g - mean[i]);
        square[i] = second * square[i] + rest * g * g;
        weight[i] -= size * mean[i] / (sqrtf(square[i]) / correction + eps);
    }
}

/* Stochastic gradient descent with momentum as torch computes it; step counts from 1. */
void sgd(int64_t count, int64_t step, double rate, double momentum, int64_t nesterov, double decay, float *weight,
         const float *gradient, float *velocity)
{
    float size = rate, keep = step == 1 ? 0 : momentum, ahead = momentum, shrink = decay;
    for (int64_t i = 0; i < count; i++) {
        float g = gradient[i] + shrink * weight[i];
        velocity[i] = keep * velocity[i] + g;
        weight[i] -= size * (nesterov ? g + ahead * velocity[i] : velocity[i]);
    }
}
