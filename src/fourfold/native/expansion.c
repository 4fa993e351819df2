/* Algebras, and the real matrix of a layer: the one with which it is a real layer. */

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
