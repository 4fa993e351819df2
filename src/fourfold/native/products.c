/* Linear layers of an algebra as real ones: as one with the expanded matrix, or as a few smaller ones.
 *
 * The product of an algebra is bilinear: y = C ((M w) * (E x)) with constant matrices E, M and C, where * multiplies component
 * by component. So a layer is `rank` real layers between a mixing of the inputs' components and one of the outputs', and so
 * are its gradients: `fourfold.nn.few_products` has the matrices.
 */

/* An algebra of n components, of real numbers where n is 1. Where there is a `table`, layers have expanded matrices, whose block
 * (i, j) is the component |table[i components + j]| - 1 of the weight with the entry's sign; for all else n is 1 then. */
struct algebra {
    int64_t n, rank;
    const float *of_input, *of_weight, *of_output; /* E (rank, n), M (rank, n), C (n, rank); rank is 1 where n is */
    int64_t components;
    const int32_t *table; /* (components, components) or NULL */
};

/* Expand a weight (components outputs, inputs) to the real matrix (components outputs, components inputs). */
static void expand(const struct algebra *algebra, int64_t outputs, int64_t inputs, const float *weight, float *matrix)
{
    int64_t n = algebra->components;
    for (int64_t i = 0; i < n; i++)
        for (int64_t row = 0; row < outputs; row++)
            for (int64_t j = 0; j < n; j++) {
                int32_t entry = algebra->table[i * n + j];
                const float *from = weight + ((entry < 0 ? -entry : entry) - 1) * outputs * inputs + row * inputs;
                float *to = matrix + ((i * outputs + row) * n + j) * inputs, sign = entry < 0 ? -1 : 1;
                for (int64_t c = 0; c < inputs; c++)
                    to[c] = sign * from[c];
            }
}

/* Add up the gradient of an expanded matrix to that of its weight. */
static void gather(const struct algebra *algebra, int64_t outputs, int64_t inputs, const float *of_matrix, float *of_weight)
{
    int64_t n = algebra->components;
    memset(of_weight, 0, n * outputs * inputs * sizeof *of_weight);
    for (int64_t i = 0; i < n; i++)
        for (int64_t row = 0; row < outputs; row++)
            for (int64_t j = 0; j < n; j++) {
                int32_t entry = algebra->table[i * n + j];
                const float *from = of_matrix + ((i * outputs + row) * n + j) * inputs;
                float *to = of_weight + ((entry < 0 ? -entry : entry) - 1) * outputs * inputs + row * inputs;
                float sign = entry < 0 ? -1 : 1;
                for (int64_t c = 0; c < inputs; c++)
                    to[c] += sign * from[c];
            }
}

/* The constant matrix (to, from) with which components are mixed, and how far apart they lie. */
struct mixing {
    int64_t to, from;
    struct strided matrix;
};

static struct mixing mixing_of(const float *matrix, int64_t to, int64_t from)
{
    return (struct mixing){to, from, {matrix, from, 1}};
}

static struct mixing mixing_back(const float *matrix, int64_t to, int64_t from)
{
    return (struct mixing){from, to, {matrix, 1, from}};
}

/* y = matrix x on components of `count` numbers each: those of x lie x_step floats apart, those of y y_step. */
static void mix(struct mixing by, int64_t count, const float *restrict x, int64_t x_step, float *restrict y, int64_t y_step)
{
    enum { BLOCK = 512 }; /* numbers of a component, so that all of an element's stay in the first-level cache */
    for (int64_t first = 0; first < count; first += BLOCK)
        for (int64_t t = 0; t < by.to; t++) {
            int64_t some = smaller(count - first, BLOCK), begun = 0;
            float *to = y + t * y_step + first;
            for (int64_t f = 0; f < by.from; f++) {
                float scale = by.matrix.data[t * by.matrix.row + f * by.matrix.column];
                const float *from = x + f * x_step + first;
                if (scale == 0)
                    continue;
                if (begun++)
                    for (int64_t i = 0; i < some; i++)
                        to[i] += scale * from[i];
                else
                    for (int64_t i = 0; i < some; i++)
                        to[i] = scale * from[i];
            }
            if (!begun)
                memset(to, 0, some * sizeof *to);
        }
}
