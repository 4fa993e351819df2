/* A linear layer by its expanded matrix, on activations that hold an image a row, as PyTorch has them. */

/* Return the matrix of a layer of n outputs and inputs a component: its weight, or the expanded one in `room`. */
static const float *matrix_of(const struct algebra *algebra, int64_t inputs, int64_t outputs, const float *weight, float *room)
{
    if (!algebra->table)
        return weight;
    expand(algebra, outputs / algebra->components, inputs / algebra->components, weight, room);
    return room;
}

/* The floats of room that the functions below take, each beginning at a multiple of 64 bytes. */
int64_t linear_room(const struct algebra *algebra, int64_t rows, int64_t inputs, int64_t outputs)
{
    int64_t width = (rows + 15) / 16 * 16;
    return (algebra->table ? (outputs * inputs + 15) / 16 * 16 : 0) + (inputs + outputs) * width;
}

static void add_bias(int64_t rows, int64_t outputs, const float *bias, float *y)
{
    if (bias)
        for (int64_t b = 0; b < rows; b++)
            for (int64_t o = 0; o < outputs; o++)
                y[b * outputs + o] += bias[o];
}

/* y = x W^T + bias, or without one where it is NULL: x (rows, inputs), y (rows, outputs). */
void linear_forward(const struct algebra *algebra, int64_t rows, int64_t inputs, int64_t outputs, const float *x,
                    const float *weight, const float *bias, float *y, float *room)
{
    int64_t width = (rows + 15) / 16 * 16;
    float *columns = room, *turned = columns + inputs * width;
    const float *matrix = matrix_of(algebra, inputs, outputs, weight, turned + outputs * width);
    turn(rows, inputs, x, inputs, columns, width);
    for (int64_t i = 0; i < inputs; i++)
        memset(columns + i * width + rows, 0, (width - rows) * sizeof *columns);
    multiply(outputs, width, inputs, (struct strided){matrix, inputs, 1}, columns, width, turned, width);
    turn(outputs, rows, turned, width, y, outputs);
    add_bias(rows, outputs, bias, y);
}

/* The gradients of the input, of the weight and of the bias, of which each may be NULL: g (rows, outputs). */
void linear_backward(const struct algebra *algebra, int64_t rows, int64_t inputs, int64_t outputs, const float *x,
                     const float *weight, const float *g, float *of_x, float *of_weight, float *of_bias, float *room)
{
    if (of_x) {
        const float *matrix = matrix_of(algebra, inputs, outputs, weight, room);
        multiply(rows, inputs, outputs, (struct strided){g, outputs, 1}, matrix, inputs, of_x, inputs);
    }
    if (of_weight) {
        float *of_matrix = algebra->table ? room : of_weight;
        multiply(outputs, inputs, rows, (struct strided){g, 1, outputs}, x, inputs, of_matrix, inputs);
        if (algebra->table)
            gather(algebra, outputs / algebra->components, inputs / algebra->components, of_matrix, of_weight);
    }
    if (of_bias) {
        memset(of_bias, 0, outputs * sizeof *of_bias);
        for (int64_t b = 0; b < rows; b++)
            for (int64_t o = 0; o < outputs; o++)
                of_bias[o] += g[b * outputs + o];
    }
}
