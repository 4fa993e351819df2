/* What one writes without further thought: the real network of the same layers, every weight there, in int8. */
#define PLAIN_WEIGHTS
#include "plain.h"

static void layer(const int8_t *weight, const int32_t *bias, const uint8_t *x, int32_t *sums, int inputs, int outputs)
{
    for (int row = 0; row < outputs; row++) {
        int32_t sum = bias[row];
        for (int i = 0; i < inputs; i++)
            sum += weight[row * inputs + i] * x[i];
        sums[row] = sum;
    }
}

static void levels(const int32_t *sums, uint8_t *y, int count)
{
    for (int i = 0; i < count; i++) {
        const int32_t level = sums[i] >> 10;
        y[i] = (uint8_t)(level < 0 ? 0 : level > 127 ? 127 : level);
    }
}

void plain_run(const uint8_t *image, int32_t *logits)
{
    static int32_t sums[300];
    static uint8_t first[300], second[100];
    layer(weights_1, biases, image, sums, 784, 300);
    levels(sums, first, 300);
    layer(weights_2, biases, first, sums, 300, 100);
    levels(sums, second, 100);
    layer(weights_3, biases, second, logits, 100, PLAIN_OUTPUTS);
}
