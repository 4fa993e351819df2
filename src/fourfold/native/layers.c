/* Layers of a perceptron. Matrices of activations hold a feature a row: (features, width), width being the batch padded to a
 * multiple of 16, and every row beginning at a multiple of 64 bytes. Columns behind the batch hold anything finite in
 * activations, and zeros in gradients.
 */

/* A sparse matrix, block of columns by block of columns: in block b, row r has the entries start[b rows + r] ... the next
 * start. The inputs that a block meets stay in the first-level cache while its rows are walked. An entry is the weight number
 * `source`, or minus the weight whose number is `source` less the number of weights. */
struct entries {
    int64_t blocks, rows;
    const int32_t *start, *column, *source;
};

/* A layer that holds all its weights. */
struct dense {
    struct algebra algebra;
    const float *mask; /* 1 where a weight is kept, 0 elsewhere; NULL where all are */
    float *matrices, *matrices_gradient; /* of the real layers (rank, outputs / n, inputs / n): the weights, or room for them */
    float *mixed_input, *mixed_output; /* room: (rank, inputs / n, width) and (rank, outputs / n, width), where n > 1 */
    float *turned; /* room: (width, rank inputs / n) */
    struct watched *watched; /* NULL unless the layer has few products */
};

/* What decides whether few products are accurate enough, and the layer without them where they are not. */
struct watched {
    const struct dense *matrix; /* the same layer by its expanded matrix */
    float *by_input, *by_output; /* (n, inputs / n), (n, outputs / n): sums of the weights' absolute values */
    float *sums; /* room: (2 n, width) */
    int64_t expanded; /* whether the matrix is that of the present weights ... */
    int64_t by_matrix; /* ... and whether the products of this batch are taken with it */
};

/* A linear layer of `weights` weights: all of them, where it is dense, or those that are kept. */
struct layer {
    int64_t inputs, outputs;
    const struct dense *dense; /* NULL where the layer is sparse */
    struct entries matrix, transpose; /* of a sparse layer */
    int64_t weights;
    const float *weight, *bias;
    float *weight_gradient, *bias_gradient;
    float *both, *both_gradient; /* room for the weights and minus the weights; NULL where no entry is minus one */
    float *input, *output, *input_gradient, *output_gradient; /* (features, width) */
};

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
