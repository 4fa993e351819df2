/* How much of its accuracy a layer loses by few products, and where that is too much: the law of `fourfold.nn.cancellation`,
 * for every image. It is decided by the numbers alone, so that a training repeats bit by bit.
 *
 * With sums of absolute values for sizes, the products have the error E of the largest components, and a component of the
 * result the size T of its own terms. No partner loses more than is allowed of numbers whose components differ by no more
 * than LARGEST_LOSS; only for others E and T are summed.
 */
#define LARGEST_LOSS 16.0f

/* Which component of a weight joins a component of the input (column) with one of the output (row). */
static int64_t joining(const struct algebra *algebra, int64_t row, int64_t column)
{
    int32_t entry = algebra->table[row * algebra->components + column];
    return (entry < 0 ? -entry : entry) - 1;
}

/* Add the absolute values of x to y. */
static void add_sizes(int64_t count, const float *x, float *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] += fabsf(x[i]);
}

static float sum_sizes(int64_t count, const float *x)
{
    float part[LANES] = {0}, sum = 0;
    int64_t first = 0;
    for (; first + LANES <= count; first += LANES)
        add_sizes(LANES, x + first, part);
    add_sizes(count - first, x + first, part);
    for (int64_t i = 0; i < LANES; i++)
        sum += part[i];
    return sum;
}

/* Whether the components (n, count) of every number differ so little that no partner loses more than is allowed. */
static int balanced(int64_t n, int64_t count, const float *sizes)
{
    for (int64_t c = 0; c < count; c++) {
        float smallest = sizes[c], largest = sizes[c];
        for (int64_t i = 1; i < n; i++) {
            float size = sizes[i * count + c];
            smallest = size < smallest ? size : smallest;
            largest = size > largest ? size : largest;
        }
        if (!(largest <= LARGEST_LOSS * smallest)) /* nor of nan */
            return 0;
    }
    return 1;
}

/* Sum the sizes of the weights that are to be multiplied. */
static void watch(const struct layer *layer)
{
    struct watched *watched = layer->dense->watched;
    int64_t n = layer->dense->algebra.n, inputs = layer->inputs / n, outputs = layer->outputs / n;
    memset(watched->by_input, 0, layer->inputs * sizeof *watched->by_input);
    for (int64_t row = 0; row < layer->outputs; row++) {
        add_sizes(inputs, layer->weight + row * inputs, watched->by_input + row / outputs * inputs);
        watched->by_output[row] = sum_sizes(inputs, layer->weight + row * inputs);
    }
    watched->expanded = watched->by_matrix = 0;
}

/* Whether E <= LARGEST_LOSS T for every image and component of the result of numbers x (n count, width) and weights of the
 * `sizes` (n, count): of the output or, `backwards`, of the input's gradient. */
static int columns_are_kept(const struct algebra *algebra, int64_t count, int64_t batch, int64_t width, const float *x,
                            const float *sizes, int backwards, float *sums)
{
    int64_t n = algebra->components;
    float *bounds = sums + n * width;
    memset(sums, 0, (n + 1) * width * sizeof *sums);
    for (int64_t c = 0; c < count; c++) {
        float largest = 0;
        for (int64_t i = 0; i < n; i++)
            largest = sizes[i * count + c] > largest ? sizes[i * count + c] : largest;
        for (int64_t j = 0; j < n; j++) {
            const float *from = x + (j * count + c) * width;
            for (int64_t b = 0; b < batch; b++)
                bounds[b] += largest * fabsf(from[b]);
            for (int64_t k = 0; k < n; k++) {
                float size = sizes[(backwards ? joining(algebra, j, k) : joining(algebra, k, j)) * count + c];
                float *to = sums + k * width;
                for (int64_t b = 0; b < batch; b++)
                    to[b] += size * fabsf(from[b]);
            }
        }
    }
    for (int64_t k = 0; k < n; k++)
        for (int64_t b = 0; b < batch; b++)
            if (!(bounds[b] < INFINITY && bounds[b] <= LARGEST_LOSS * sums[k * width + b]))
                return 0;
    return 1;
}

/* Sum the sizes of numbers x (n count, width) over the numbers: (n, width). */
static void sum_by_image(int64_t n, int64_t count, int64_t batch, int64_t width, const float *x, float *sums)
{
    memset(sums, 0, n * width * sizeof *sums);
    for (int64_t row = 0; row < n * count; row++)
        add_sizes(batch, x + row * width, sums + row / count * width);
}

static int weight_gradient_is_kept(const struct layer *layer, int64_t batch, int64_t width)
{
    struct watched *watched = layer->dense->watched;
    const struct algebra *algebra = &watched->matrix->algebra;
    int64_t n = algebra->components;
    float *x = watched->sums, *g = x + n * width, totals[n], terms[n], bound = 0;
    sum_by_image(n, layer->outputs / n, batch, width, layer->output_gradient, g);
    for (int64_t k = 0; k < n; k++)
        totals[k] = sum_sizes(batch, g + k * width);
    if (balanced(n, 1, totals))
        return 1;
    sum_by_image(n, layer->inputs / n, batch, width, layer->input, x);
    memset(terms, 0, sizeof terms);
    for (int64_t b = 0; b < batch; b++) {
        float size = 0, largest = 0;
        for (int64_t k = 0; k < n; k++) {
            size += x[k * width + b];
            largest = g[k * width + b] > largest ? g[k * width + b] : largest;
        }
        bound += size * largest;
        for (int64_t k = 0; k < n; k++)
            for (int64_t j = 0; j < n; j++)
                terms[joining(algebra, k, j)] += x[j * width + b] * g[k * width + b];
    }
    for (int64_t i = 0; i < n; i++)
        if (!(bound < INFINITY && bound <= LARGEST_LOSS * terms[i]))
            return 0;
    return 1;
}

/* Whether a layer's output is accurate by few products. */
static int output_is_kept(const struct layer *layer, int64_t batch, int64_t width)
{
    struct watched *watched = layer->dense->watched;
    const struct algebra *algebra = &watched->matrix->algebra;
    int64_t n = algebra->components, inputs = layer->inputs / n;
    return balanced(n, inputs, watched->by_input) ||
           columns_are_kept(algebra, inputs, batch, width, layer->input, watched->by_input, 0, watched->sums);
}

/* Whether the gradients of a layer's weights and of its input are accurate by few products. */
static int gradients_are_kept(const struct layer *layer, int64_t batch, int64_t width)
{
    struct watched *watched = layer->dense->watched;
    const struct algebra *algebra = &watched->matrix->algebra;
    int64_t n = algebra->components, outputs = layer->outputs / n;
    return (balanced(n, outputs, watched->by_output) ||
            columns_are_kept(algebra, outputs, batch, width, layer->output_gradient, watched->by_output, 1, watched->sums)) &&
           weight_gradient_is_kept(layer, batch, width);
}
