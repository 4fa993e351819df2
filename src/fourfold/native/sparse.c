/* Sparse layers. An entry of the weight matrix meets whole vectors of the batch: a row of the product stays in registers while
 * the row's entries are walked, with no gather.
 */

#define WIDE (64 / LANES) /* vectors of a wide tile: 64 columns */
#define NARROW (16 / LANES)

/* Sum a vector to eight numbers. */
INLINE eight fold(vector sum)
{
    eight part[LANES / 8];
    memcpy(part, &sum, sizeof part);
    return LANES == 8 ? part[0] : part[0] + part[LANES / 8 - 1];
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
static void sparse_gradient(const struct layer *layer, int64_t batch, int64_t width)
{
    (void)batch; /* the columns behind it hold zeros */
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

/* What the sources of a layer's entries number. */
static const float *entry_values(const struct layer *layer)
{
    return layer->both ? layer->both : layer->weight;
}

static void sparse_prepare(const struct layer *layer)
{
    if (layer->both)
        for (int64_t i = 0; i < layer->weights; i++)
            layer->both[layer->weights + i] = -(layer->both[i] = layer->weight[i]);
}

static void sparse_forward(const struct layer *layer, int64_t batch, int64_t width)
{
    (void)batch;
    product(&layer->matrix, entry_values(layer), layer->bias, layer->input, width, layer->output);
}

static void sparse_backward(const struct layer *layer, int64_t width)
{
    product(&layer->transpose, entry_values(layer), NULL, layer->output_gradient, width, layer->input_gradient);
}
