/* Training steps of a perceptron, each of its layers sparse or dense. */

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

static int64_t padded(int64_t batch)
{
    return (batch + 15) / 16 * 16;
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
    double correction = sqrt(1 - pow(of->beta2, step)); /* of the square's root, multiplied into what it divides and into eps */
    float size = rate / (1 - pow(of->beta1, step)) * correction, eps = of->epsilon * correction;
    float first = 1 - of->beta1, second = of->beta2, rest = 1 - of->beta2, shrink = of->decay;
    for (int64_t i = 0; i < of->count; i++) {
        float g = gradient[i] + shrink * weight[i];
        mean[i] += first * (g - mean[i]);
        square[i] = second * square[i] + rest * g * g;
        weight[i] -= size * mean[i] / (sqrtf(square[i]) + eps);
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

/* Make what products need of the weights, whenever these have changed. */
static void prepare(const struct perceptron *of)
{
    for (int64_t l = 0; l < of->num_layers; l++)
        (of->layers[l].dense ? dense_prepare : sparse_prepare)(of->layers + l);
}

/* From the first layer's input to the last one's output. */
static void forward(const struct perceptron *of, int64_t batch, int64_t width)
{
    for (int64_t l = 0; l < of->num_layers; l++) {
        const struct layer *layer = of->layers + l;
        (layer->dense ? dense_forward : sparse_forward)(layer, batch, width);
        if (l + 1 < of->num_layers)
            relu(layer->outputs * width, layer->output);
    }
}

/* From the last layer's gradient to those of all weights. */
static void backward(const struct perceptron *of, int64_t batch, int64_t width)
{
    for (int64_t l = of->num_layers; l--;) {
        const struct layer *layer = of->layers + l;
        (layer->dense ? dense_gradient : sparse_gradient)(layer, batch, width);
        if (l) {
            (layer->dense ? dense_backward : sparse_backward)(layer, width);
            relu_backward(layer->inputs * width, layer->input, layer->input_gradient);
        }
    }
}

/* Take a step on the batch that is in the first layer's input; return the mean loss before it.
 * If a label is no class that is nan, and nothing is learned. */
static double learn(const struct perceptron *of, int64_t batch, const int64_t *labels, int64_t step, double rate)
{
    const struct layer *last = of->layers + of->num_layers - 1;
    int64_t width = padded(batch), classes = last->outputs;
    for (int64_t b = 0; b < batch; b++)
        if (labels[b] < 0 || labels[b] >= classes)
            return NAN;
    prepare(of);
    forward(of, batch, width);
    double loss = cross_entropy(batch, classes, width, last->output, labels, last->output_gradient);
    backward(of, batch, width);
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
    prepare(of);
    for (int64_t first = 0; first < count; first += batch_size) {
        int64_t batch = count - first < batch_size ? count - first : batch_size, width = padded(batch);
        fetch(images, members + first, batch, width, of->met, of->layers->input);
        forward(of, batch, width);
        sum += cross_entropy(batch, last->outputs, width, last->output, labels + first, last->output_gradient) * batch;
        for (int64_t b = 0; b < batch; b++) {
            int64_t best = 0;
            for (int64_t c = 1; c < last->outputs; c++)
                if (last->output[c * width + b] > last->output[best * width + b])
                    best = c;
            *right += best == labels[first + b];
        }
    }
    return sum;
}
