/* Norms of groups of elements: a mean for every component, one variance for the group.

An image has n · numbers channels, blocked by component, at `positions` places; the numbers are cut into `groups` of equal
size. Positions lie side by side (position stride 1, channels `positions` apart) or channels do (channel stride 1). Sums are of
float32 within a block, of float64 over blocks, and squares are those of centred values. */

enum { BLOCK = 64 }; /* vectors, or places, whose sums are of float32 */

struct groups {
    int64_t images, components, numbers, groups, positions;
    int64_t by_channel; /* whether channels lie side by side */
};

static double total(anywhere values)
{
    double sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += values[lane];
    return sum;
}

/* Σ (x − m) and Σ (x − m) y of `count` floats side by side, with y = x − m where `y` is NULL. */
INLINE void sums_of_run(int64_t count, const float *x, const float *y, float m, double *sum, double *product)
{
    int64_t i = 0;
    for (; i + LANES <= count;) {
        int64_t end = i + BLOCK * LANES < count ? i + BLOCK * LANES : count;
        anywhere sums[2] = {{0}}, products[2] = {{0}};
        for (int turn = 0; i + LANES <= end; i += LANES, turn ^= 1) {
            anywhere one = *(const anywhere *)(x + i) - m, other = y ? *(const anywhere *)(y + i) : one;
            sums[turn] += y ? other : one;
            products[turn] += one * other;
        }
        *sum += total(sums[0] + sums[1]);
        *product += total(products[0] + products[1]);
        if (end == count)
            break;
    }
    for (; i < count; i++) {
        float one = x[i] - m, other = y ? y[i] : one;
        *sum += y ? other : one;
        *product += (double)one * other;
    }
}

/* For every channel of an image, Σ (x − m) and Σ (x − m)², or with y Σ y and Σ (x − m) y. `room` has 2 floats a channel. */
static void sums_of_image(const struct groups *g, const float *x, const float *y, const float *mean, double *sum,
                          double *product, float *room)
{
    int64_t channels = g->components * g->numbers;
    memset(sum, 0, channels * sizeof *sum);
    memset(product, 0, channels * sizeof *product);
    if (!g->by_channel) {
        for (int64_t c = 0; c < channels; c++)
            sums_of_run(g->positions, x + c * g->positions, y ? y + c * g->positions : NULL, mean[c], sum + c, product + c);
        return;
    }
    float *restrict sums = room, *restrict products = room + channels;
    for (int64_t first = 0; first < g->positions; first += BLOCK) {
        int64_t end = first + BLOCK < g->positions ? first + BLOCK : g->positions;
        memset(room, 0, 2 * channels * sizeof *room);
        for (int64_t p = first; p < end; p++) {
            const float *restrict row = x + p * channels, *restrict other = y ? y + p * channels : NULL;
            if (y)
                for (int64_t c = 0; c < channels; c++) {
                    sums[c] += other[c];
                    products[c] += (row[c] - mean[c]) * other[c];
                }
            else
                for (int64_t c = 0; c < channels; c++) {
                    float one = row[c] - mean[c];
                    sums[c] += one;
                    products[c] += one * one;
                }
        }
        for (int64_t c = 0; c < channels; c++) {
            sum[c] += sums[c];
            product[c] += products[c];
        }
    }
}

/* out = (x − m) a + b, plus y e where there is a y, for each channel of an image. */
static void apply(const struct groups *g, const float *restrict x, const float *restrict y, const float *restrict mean,
                  const float *restrict a, const float *restrict b, const float *restrict e, float *restrict out)
{
    int64_t channels = g->components * g->numbers, positions = g->positions;
    if (g->by_channel) {
        for (int64_t p = 0; p < positions; p++, x += channels, out += channels) {
            if (y) {
                for (int64_t c = 0; c < channels; c++)
                    out[c] = (x[c] - mean[c]) * a[c] + b[c] + y[c] * e[c];
                y += channels;
            } else
                for (int64_t c = 0; c < channels; c++)
                    out[c] = (x[c] - mean[c]) * a[c] + b[c];
        }
        return;
    }
    for (int64_t c = 0; c < channels; c++, x += positions, out += positions) {
        float m = mean[c], factor = a[c], addend = b[c];
        if (y) {
            float other = e[c];
            for (int64_t p = 0; p < positions; p++)
                out[p] = (x[p] - m) * factor + addend + y[p] * other;
            y += positions;
        } else
            for (int64_t p = 0; p < positions; p++)
                out[p] = (x[p] - m) * factor + addend;
    }
}

/* y, the means (images, components, groups) and 1 / √(variance + eps) (images, groups). Weights (numbers) and biases (channels)
   may be NULL. double room[4 · channels]. */
void groups_forward(const struct groups *g, const float *x, const float *weight, const float *bias, double eps, float *mean,
                    float *scale, double *room, float *y)
{
    int64_t channels = g->components * g->numbers, members = g->numbers / g->groups;
    double *sum = room, *product = sum + channels;
    float *means = (float *)(product + channels), *a = means + channels, *b = a + channels, *rest = a;
    for (int64_t image = 0; image < g->images; image++) {
        float *of_image = mean + image * g->components * g->groups;
        memset(means, 0, channels * sizeof *means);
        sums_of_image(g, x, NULL, means, sum, product, rest);
        for (int64_t k = 0; k < g->components * g->groups; k++) {
            double of_group = 0;
            for (int64_t m = 0; m < members; m++)
                of_group += sum[k * members + m];
            of_image[k] = of_group / (members * g->positions);
            for (int64_t m = 0; m < members; m++)
                means[k * members + m] = of_image[k];
        }
        sums_of_image(g, x, NULL, means, sum, product, rest);
        for (int64_t group = 0; group < g->groups; group++) {
            double squares = 0, off = 0, count = (double)members * g->positions;
            for (int64_t k = group; k < g->components * g->groups; k += g->groups) {
                off = 0;
                for (int64_t m = 0; m < members; m++) {
                    squares += product[k * members + m];
                    off += sum[k * members + m];
                }
                squares -= off * off / count; /* what the rounding of the mean adds */
            }
            double r = 1 / sqrt(squares / (count * g->components) + eps);
            scale[image * g->groups + group] = r;
            for (int64_t k = group; k < g->components * g->groups; k += g->groups)
                for (int64_t m = 0; m < members; m++) {
                    int64_t c = k * members + m;
                    a[c] = r * (weight ? weight[c % g->numbers] : 1);
                    b[c] = bias ? bias[c] : 0;
                }
        }
        apply(g, x, NULL, means, a, b, NULL, y);
        x += channels * g->positions, y += channels * g->positions;
    }
}

/* The gradients by x, and by weights (numbers) and biases (channels), which may be NULL, from that by y. double room[5 · channels
   + numbers]. */
void groups_backward(const struct groups *g, const float *by_y, const float *x, const float *weight, const float *mean,
                     const float *scale, double *room, float *of_x, float *of_weight, float *of_bias)
{
    int64_t channels = g->components * g->numbers, members = g->numbers / g->groups;
    double *sum = room, *product = sum + channels, *biases = product + channels, *weights = biases + channels;
    float *means = (float *)(weights + g->numbers), *a = means + channels, *b = a + channels, *e = b + channels;
    memset(biases, 0, (channels + g->numbers) * sizeof *biases);
    for (int64_t image = 0; image < g->images; image++) {
        const float *of_image = mean + image * g->components * g->groups;
        for (int64_t c = 0; c < channels; c++)
            means[c] = of_image[c / members];
        sums_of_image(g, x, by_y, means, sum, product, a);
        for (int64_t group = 0; group < g->groups; group++) {
            double r = scale[image * g->groups + group], count = (double)members * g->positions, all = 0;
            for (int64_t k = group; k < g->components * g->groups; k += g->groups)
                for (int64_t m = 0; m < members; m++) {
                    int64_t c = k * members + m;
                    all += product[c] * (weight ? weight[c % g->numbers] : 1);
                    biases[c] += sum[c];
                    weights[c % g->numbers] += product[c] * r;
                }
            for (int64_t k = group; k < g->components * g->groups; k += g->groups) {
                double of_component = 0;
                for (int64_t m = 0; m < members; m++)
                    of_component += sum[k * members + m] * (weight ? weight[(k * members + m) % g->numbers] : 1);
                for (int64_t m = 0; m < members; m++) {
                    int64_t c = k * members + m;
                    a[c] = -r * r * r * all / (count * g->components);
                    b[c] = -r * of_component / count;
                    e[c] = r * (weight ? weight[c % g->numbers] : 1);
                }
            }
        }
        apply(g, x, by_y, means, a, b, e, of_x);
        x += channels * g->positions, by_y += channels * g->positions, of_x += channels * g->positions;
    }
    for (int64_t k = 0; of_weight && k < g->numbers; k++)
        of_weight[k] = weights[k];
    for (int64_t c = 0; of_bias && c < channels; c++)
        of_bias[c] = biases[c];
}

/* The sum of a vector, in pairs. */
INLINE float in_pairs(anywhere values)
{
    float sums[LANES];
    memcpy(sums, &values, sizeof sums);
    for (int half = LANES / 2; half; half /= 2)
        for (int lane = 0; lane < half; lane++)
            sums[lane] += sums[lane + half];
    return sums[0];
}

/* One group of all channels, at one place: y (rows, components · numbers), means (rows, components) and 1 / √(variance + eps)
   (rows). Weights (numbers) and biases (channels) may be NULL. */
void rows_forward(int64_t rows, int64_t components, int64_t numbers, const float *x, const float *weight, const float *bias,
                  double eps, float *mean, float *scale, float *y)
{
    int64_t channels = components * numbers, whole = numbers / LANES * LANES;
    for (int64_t row = 0; row < rows; row++, x += channels, y += channels, mean += components) {
        anywhere squares = {0};
        float of_rest = 0;
        for (int64_t k = 0; k < components; k++) {
            const float *part = x + k * numbers;
            anywhere sums = {0};
            float sum = 0;
            for (int64_t i = 0; i < whole; i += LANES)
                sums += *(const anywhere *)(part + i);
            for (int64_t i = whole; i < numbers; i++)
                sum += part[i];
            float m = mean[k] = (sum + in_pairs(sums)) / numbers;
            for (int64_t i = 0; i < whole; i += LANES) {
                anywhere centred = *(const anywhere *)(part + i) - m;
                squares += centred * centred;
            }
            for (int64_t i = whole; i < numbers; i++)
                of_rest += (part[i] - m) * (part[i] - m);
        }
        float r = scale[row] = 1 / sqrt(((double)of_rest + in_pairs(squares)) / channels + eps);
        for (int64_t k = 0; k < components; k++) {
            const float *restrict part = x + k * numbers, *restrict addend = bias ? bias + k * numbers : NULL;
            float *restrict out = y + k * numbers, m = mean[k];
            if (weight && bias)
                for (int64_t i = 0; i < numbers; i++)
                    out[i] = (part[i] - m) * r * weight[i] + addend[i];
            else
                for (int64_t i = 0; i < numbers; i++)
                    out[i] = (part[i] - m) * r * (weight ? weight[i] : 1) + (bias ? addend[i] : 0);
        }
    }
}

/* The gradients by x, weights and biases, which may be NULL, from that by y. double room[5 · channels]. */
void rows_backward(int64_t rows, int64_t components, int64_t numbers, const float *by_y, const float *x, const float *weight,
                   const float *mean, const float *scale, double *room, float *of_x, float *of_weight, float *of_bias)
{
    int64_t channels = components * numbers, whole = numbers / LANES * LANES;
    double *weights = room, *biases = weights + channels;
    float *restrict sums = (float *)(biases + channels); /* Σ (x − m) r g, then Σ g, of a block of rows */
    float *restrict ones = sums + 2 * channels;          /* the weight of each channel */
    memset(room, 0, 3 * channels * sizeof *room);
    for (int64_t c = 0; c < channels; c++)
        ones[c] = weight ? weight[c % numbers] : 1;
    for (int64_t row = 0; row < rows; row++, x += channels, by_y += channels, of_x += channels, mean += components) {
        anywhere products = {0};
        float r = scale[row], of_rest = 0, of_component[components];
        for (int64_t k = 0; k < components; k++) {
            const float *part = x + k * numbers, *g = by_y + k * numbers;
            anywhere parts = {0};
            float sum = 0, m = mean[k];
            for (int64_t i = 0; i < whole; i += LANES) {
                anywhere scaled = *(const anywhere *)(g + i) * *(const anywhere *)(ones + i);
                parts += scaled;
                products += scaled * (*(const anywhere *)(part + i) - m);
            }
            for (int64_t i = whole; i < numbers; i++) {
                sum += g[i] * ones[i];
                of_rest += g[i] * ones[i] * (part[i] - m);
            }
            of_component[k] = (sum + in_pairs(parts)) / numbers;
        }
        float along = r * r * (of_rest + in_pairs(products)) / channels;
        for (int64_t k = 0; k < components; k++) {
            const float *restrict part = x + k * numbers, *restrict g = by_y + k * numbers;
            float *restrict out = of_x + k * numbers, *restrict sum = sums + k * numbers, m = mean[k], less = of_component[k];
            for (int64_t i = 0; i < numbers; i++) {
                float centred = part[i] - m;
                out[i] = r * (g[i] * ones[i] - less - centred * along);
                sum[i] += centred * r * g[i];
                sum[channels + i] += g[i];
            }
        }
        if (row % BLOCK == BLOCK - 1 || row == rows - 1) {
            for (int64_t c = 0; c < 2 * channels; c++)
                room[c] += sums[c];
            memset(sums, 0, 2 * channels * sizeof *sums);
        }
    }
    for (int64_t i = 0; of_weight && i < numbers; i++) {
        double sum = 0;
        for (int64_t k = 0; k < components; k++)
            sum += weights[k * numbers + i];
        of_weight[i] = sum;
    }
    for (int64_t c = 0; of_bias && c < channels; c++)
        of_bias[c] = biases[c];
}
