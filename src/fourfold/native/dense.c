/* Dense layers, and those of which little is pruned: real layers between mixings of components, as `products.c` says. */

/* Return x mixed, in `room`; x itself where an element has one component. */
static const float *mixed(const struct algebra *algebra, struct mixing by, int64_t count, const float *x, float *room)
{
    if (algebra->n == 1)
        return x;
    mix(by, count, x, count, room, count);
    return room;
}

/* Compute the real layers' matrices from the weights. */
static void make_matrices(const struct layer *layer, const struct dense *dense)
{
    const struct algebra *algebra = &dense->algebra;
    if (algebra->table)
        expand(algebra, layer->outputs / algebra->components, layer->inputs / algebra->components, layer->weight,
               dense->matrices);
    else
        mixed(algebra, mixing_of(algebra->of_weight, algebra->rank, algebra->n), layer->weights / algebra->n, layer->weight,
              dense->matrices);
}

/* Make what products need of the weights, before any product. */
static void dense_prepare(const struct layer *layer)
{
    make_matrices(layer, layer->dense);
    if (layer->dense->watched)
        watch(layer);
}

/* Return the way in which a layer is computed for this batch. */
static const struct dense *chosen(const struct layer *layer)
{
    struct watched *watched = layer->dense->watched;
    if (!watched || !watched->by_matrix)
        return layer->dense;
    if (!watched->expanded)
        make_matrices(layer, watched->matrix);
    watched->expanded = 1;
    return watched->matrix;
}

static void dense_forward(const struct layer *layer, int64_t batch, int64_t width)
{
    if (layer->dense->watched)
        layer->dense->watched->by_matrix = !output_is_kept(layer, batch, width);
    const struct dense *dense = chosen(layer);
    const struct algebra *algebra = &dense->algebra;
    int64_t n = algebra->n, rank = algebra->rank, inputs = layer->inputs / n, outputs = layer->outputs / n;
    const float *x = mixed(algebra, mixing_of(algebra->of_input, rank, n), inputs * width, layer->input, dense->mixed_input);
    float *y = n == 1 ? layer->output : dense->mixed_output;
    for (int64_t r = 0; r < rank; r++)
        multiply(outputs, width, inputs, (struct strided){dense->matrices + r * outputs * inputs, inputs, 1}, x + r * inputs * width,
                 width, y + r * outputs * width, width);
    mixed(algebra, mixing_of(algebra->of_output, n, rank), outputs * width, y, layer->output);
    for (int64_t row = 0; row < layer->outputs; row++)
        for (int64_t b = 0; b < width; b++)
            layer->output[row * width + b] += layer->bias[row];
}

/* Gradients of a layer's weights and bias, after its product. */
static void dense_gradient(const struct layer *layer, int64_t batch, int64_t width)
{
    struct watched *watched = layer->dense->watched;
    if (watched && !watched->by_matrix)
        watched->by_matrix = !gradients_are_kept(layer, batch, width);
    const struct dense *dense = chosen(layer);
    const struct algebra *algebra = &dense->algebra;
    int64_t n = algebra->n, rank = algebra->rank, inputs = layer->inputs / n, outputs = layer->outputs / n;
    const float *x = n == 1 ? layer->input : dense->mixed_input;
    const float *g = mixed(algebra, mixing_back(algebra->of_output, n, rank), outputs * width, layer->output_gradient,
                           dense->mixed_output);
    turn(rank * inputs, batch, x, width, dense->turned, rank * inputs);
    for (int64_t r = 0; r < rank; r++)
        multiply(outputs, inputs, batch, (struct strided){g + r * outputs * width, width, 1}, dense->turned + r * inputs,
                 rank * inputs, dense->matrices_gradient + r * outputs * inputs, inputs);
    if (algebra->table)
        gather(algebra, outputs / algebra->components, inputs / algebra->components, dense->matrices_gradient,
               layer->weight_gradient);
    else
        mixed(algebra, mixing_back(algebra->of_weight, rank, n), outputs * inputs, dense->matrices_gradient,
              layer->weight_gradient);
    if (dense->mask)
        for (int64_t i = 0; i < layer->weights; i++)
            layer->weight_gradient[i] *= dense->mask[i];
    for (int64_t row = 0; row < layer->outputs; row++) {
        float sum = 0;
        for (int64_t b = 0; b < batch; b++)
            sum += layer->output_gradient[row * width + b];
        layer->bias_gradient[row] = sum;
    }
}

/* The gradient of a layer's input, after those of its weights. */
static void dense_backward(const struct layer *layer, int64_t width)
{
    const struct dense *dense = chosen(layer);
    const struct algebra *algebra = &dense->algebra;
    int64_t n = algebra->n, rank = algebra->rank, inputs = layer->inputs / n, outputs = layer->outputs / n;
    const float *g = n == 1 ? layer->output_gradient : dense->mixed_output;
    float *of_input = n == 1 ? layer->input_gradient : dense->mixed_input;
    for (int64_t r = 0; r < rank; r++)
        multiply(inputs, width, outputs, (struct strided){dense->matrices + r * outputs * inputs, 1, inputs}, g + r * outputs * width,
                 width, of_input + r * inputs * width, width);
    mixed(algebra, mixing_back(algebra->of_input, rank, n), inputs * width, of_input, layer->input_gradient);
}
