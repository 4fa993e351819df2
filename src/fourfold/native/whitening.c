/* Whitening of a batch of elements, forward and backward, on maps whose positions or whose channels lie side by side.

A map holds `numbers` elements of n components at `rows` places. Sixteen neighbours are computed together: positions of one
element where positions lie side by side, else elements of one position. Sums are of float32 within a block, of float64 over
blocks; whatever belongs to one element, a matrix of n × n, is float64. */

#define MOST 8    /* components of an element */
#define BLOCK 256 /* places whose sums are of float32 */

struct map {
    int64_t images, numbers, positions;
    int64_t image, component, number, position; /* strides, of which that of numbers or that of positions is 1 */
};

APART anywhere read_part(const float *from, int64_t count)
{
    anywhere values = {0};
    memcpy(&values, from, count * sizeof *from);
    return values;
}

APART void write_part(float *to, anywhere values, int64_t count)
{
    memcpy(to, &values, count * sizeof *to);
}

INLINE anywhere read_lanes(const float *from, int64_t count)
{
    return count == LANES ? *(const anywhere *)from : read_part(from, count);
}

INLINE void write_lanes(float *to, anywhere values, int64_t count)
{
    if (count == LANES)
        *(anywhere *)to = values;
    else
        write_part(to, values, count);
}

/* Add to products (n, n) those of all components of left and right, and to sums (n) those of left, over `steps` steps.
   Where left is right, products above the diagonal are left out. */
INLINE void add_products(int n, int symmetric, const float *left, const float *right,
                                                               int64_t component, int64_t steps, int64_t step, int64_t count,
                                                               anywhere *products, anywhere *sums)
{
    for (int64_t s = 0; s < steps; s++, left += step, right += step) {
        anywhere others[MOST];
        for (int j = 0; j < n; j++)
            others[j] = read_lanes(right + j * component, count);
        for (int i = 0; i < n; i++) {
            anywhere one = symmetric ? others[i] : read_lanes(left + i * component, count);
            sums[i] += one;
            for (int j = 0; j < (symmetric ? i + 1 : n); j++)
                products[i * n + j] += one * others[j];
        }
    }
}

static double total(anywhere values)
{
    double sum = 0;
    for (int lane = 0; lane < LANES; lane++)
        sum += values[lane];
    return sum;
}

/* products (numbers, n, n) and sums (numbers, n) over all places of two maps of the same strides. */
INLINE void moments_by(int n, int symmetric, const struct map *map, const float *left,
                                                          const float *right, double *products, double *sums)
{
    int64_t numbers = map->numbers, rows = map->images * map->positions;
    memset(products, 0, numbers * n * n * sizeof *products);
    memset(sums, 0, numbers * n * sizeof *sums);
    if (map->number == 1) {
        for (int64_t row = 0; row < rows; row += BLOCK) {
            int64_t steps = rows - row < BLOCK ? rows - row : BLOCK, at = row * map->position;
            for (int64_t first = 0; first < numbers; first += LANES) {
                int64_t count = numbers - first < LANES ? numbers - first : LANES;
                anywhere of_block[MOST * MOST] = {{0}}, sum[MOST] = {{0}};
                if (count == LANES)
                    add_products(n, symmetric, left + at + first, right + at + first, map->component, steps, map->position,
                                 LANES, of_block, sum);
                else
                    add_products(n, symmetric, left + at + first, right + at + first, map->component, steps, map->position,
                                 count, of_block, sum);
                for (int64_t lane = 0; lane < count; lane++) {
                    for (int k = 0; k < n * n; k++)
                        products[(first + lane) * n * n + k] += of_block[k][lane];
                    for (int i = 0; i < n; i++)
                        sums[(first + lane) * n + i] += sum[i][lane];
                }
            }
        }
    } else {
        for (int64_t image = 0; image < map->images; image++)
            for (int64_t number = 0; number < numbers; number++)
                for (int64_t position = 0; position < map->positions; position += BLOCK * LANES) {
                    int64_t places = map->positions - position < BLOCK * LANES ? map->positions - position : BLOCK * LANES;
                    int64_t at = image * map->image + number * map->number + position, rest = places % LANES;
                    anywhere of_block[MOST * MOST] = {{0}}, sum[MOST] = {{0}};
                    add_products(n, symmetric, left + at, right + at, map->component, places / LANES, LANES, LANES, of_block, sum);
                    at += places - rest;
                    if (rest)
                        add_products(n, symmetric, left + at, right + at, map->component, 1, LANES, rest, of_block, sum);
                    for (int k = 0; k < n * n; k++)
                        products[number * n * n + k] += total(of_block[k]);
                    for (int i = 0; i < n; i++)
                        sums[number * n + i] += total(sum[i]);
                }
    }
    if (symmetric)
        for (int64_t number = 0; number < numbers; number++)
            for (int i = 0; i < n; i++)
                for (int j = i + 1; j < n; j++)
                    products[(number * n + i) * n + j] = products[(number * n + j) * n + i];
}

/* out = offset + first · x + second · g at `steps` steps; without the last term where g is NULL. */
INLINE void add_mixed(int n, const anywhere *offset, const anywhere *first, const float *x,
                                                            const anywhere *second, const float *g, int64_t component,
                                                            int64_t steps, int64_t step, int64_t count, float *out)
{
    for (int64_t s = 0; s < steps; s++, x += step, out += step) {
        anywhere parts[MOST], others[MOST];
        for (int j = 0; j < n; j++) {
            parts[j] = read_lanes(x + j * component, count);
            if (g)
                others[j] = read_lanes(g + s * step + j * component, count);
        }
        for (int i = 0; i < n; i++) {
            anywhere sum = offset[i];
            for (int j = 0; j < n; j++) {
                sum += first[i * n + j] * parts[j];
                if (g)
                    sum += second[i * n + j] * others[j];
            }
            write_lanes(out + i * component, sum, count);
        }
    }
}

/* out = offset + first · x + second · g by the matrices (numbers, n, n) and offsets (numbers, n), float64 rounded to float32. */
INLINE void mix_by(int n, const struct map *map, const double *offset, const double *first,
                                                      const float *x, const double *second, const float *g, float *out)
{
    anywhere offsets[MOST], of_first[MOST * MOST], of_second[MOST * MOST];
    int64_t rows = map->images * map->positions;
    if (map->number == 1) {
        for (int64_t row = 0; row < rows; row += BLOCK) {
            int64_t steps = rows - row < BLOCK ? rows - row : BLOCK;
            for (int64_t begin = 0; begin < map->numbers; begin += LANES) {
                int64_t count = map->numbers - begin < LANES ? map->numbers - begin : LANES;
                int64_t at = row * map->position + begin;
                for (int64_t lane = 0; lane < count; lane++) {
                    for (int i = 0; i < n; i++)
                        offsets[i][lane] = offset[(begin + lane) * n + i];
                    for (int k = 0; k < n * n; k++) {
                        of_first[k][lane] = first[(begin + lane) * n * n + k];
                        if (g)
                            of_second[k][lane] = second[(begin + lane) * n * n + k];
                    }
                }
                if (count == LANES)
                    add_mixed(n, offsets, of_first, x + at, of_second, g ? g + at : NULL, map->component, steps, map->position,
                              LANES, out + at);
                else
                    add_mixed(n, offsets, of_first, x + at, of_second, g ? g + at : NULL, map->component, steps, map->position,
                              count, out + at);
            }
        }
        return;
    }
    for (int64_t image = 0; image < map->images; image++)
        for (int64_t number = 0; number < map->numbers; number++) {
            int64_t at = image * map->image + number * map->number, rest = map->positions % LANES;
            for (int i = 0; i < n; i++)
                offsets[i] = (float)offset[number * n + i] - (anywhere){0};
            for (int k = 0; k < n * n; k++) {
                of_first[k] = (float)first[number * n * n + k] - (anywhere){0};
                if (g)
                    of_second[k] = (float)second[number * n * n + k] - (anywhere){0};
            }
            add_mixed(n, offsets, of_first, x + at, of_second, g ? g + at : NULL, map->component, map->positions / LANES, LANES,
                      LANES, out + at);
            at += map->positions - rest;
            if (rest)
                add_mixed(n, offsets, of_first, x + at, of_second, g ? g + at : NULL, map->component, 1, LANES, rest, out + at);
        }
}

/* `moments_by` for the sizes that have loops of their own. */
static void moments(int n, const struct map *map, const float *left, const float *right, double *products, double *sums)
{
    int symmetric = left == right;
    if (n == 4 && symmetric)
        moments_by(4, 1, map, left, right, products, sums);
    else if (n == 4)
        moments_by(4, 0, map, left, right, products, sums);
    else if (n == 2)
        moments_by(2, symmetric, map, left, right, products, sums);
    else
        moments_by(n, symmetric, map, left, right, products, sums);
}

/* `mix_by` for the sizes that have loops of their own. */
static void mix(int n, const struct map *map, const double *offset, const double *first, const float *x, const double *second,
                const float *g, float *out)
{
    if (n == 4 && g)
        mix_by(4, map, offset, first, x, second, g, out);
    else if (n == 4)
        mix_by(4, map, offset, first, x, NULL, NULL, out);
    else if (n == 2)
        mix_by(2, map, offset, first, x, second, g, out);
    else
        mix_by(n, map, offset, first, x, second, g, out);
}

/* c = a b, or aᵀ b, or a bᵀ, of n × n. */
static void product(int n, const double *a, int turn_a, const double *b, int turn_b,
                                                          double *c)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++)
                sum += (turn_a ? a[k * n + i] : a[i * n + k]) * (turn_b ? b[j * n + k] : b[k * n + j]);
            c[i * n + j] = sum;
        }
}

/* The lower triangular W with W (V + eps) Wᵀ = 1 by elimination; pivots below `eps`, and below what rounding leaves of a
   variance, are raised. */
static void invert_factor(int n, const double *covariance, double eps, double roundings,
                                                                double *factor)
{
    double work[MOST][2 * MOST] = {{0}};
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++)
            work[i][j] = covariance[i * n + j] + (i == j ? eps : 0);
        work[i][n + i] = 1;
    }
    for (int j = 0; j < n; j++) {
        double least = covariance[j * n + j] * roundings, row[2 * MOST];
        least = least > eps ? least : eps;
        double scale = 1 / sqrt(work[j][j] > least ? work[j][j] : least);
        for (int k = 0; k < 2 * n; k++)
            row[k] = work[j][k] * scale;
        for (int k = 0; k < n; k++)
            factor[j * n + k] = row[n + k];
        for (int i = j + 1; i < n; i++)
            for (int k = 0; k < 2 * n; k++)
                work[i][k] -= row[i] * row[k];
    }
}

/* y = Γ W (x − μ) + β with the mean (numbers, n) and the covariance (numbers, n, n) of the batch and W, which are given, too.
   gamma (numbers, n, n), beta (numbers, n), room (numbers, n·n + n). Returns 0, without y, where float32 is not precise enough:
   where the mean square of a component is more than `most` times the least pivot. n is at most 8. */
int whitening_forward(int n, const struct map *map, const float *x, const float *gamma, const float *beta, double eps,
                      double roundings, double most, double *mean, double *covariance, double *factor, double *room, float *y)
{
    double places = (double)(map->images * map->positions), *matrix = room, *offset = room + map->numbers * n * n;
    int precise = 1;
    moments(n, map, x, x, covariance, mean);
    for (int64_t number = 0; number < map->numbers; number++) {
        double *means = mean + number * n, *v = covariance + number * n * n, *w = factor + number * n * n;
        double scale[MOST * MOST], square = 0, inverse = 0;
        for (int i = 0; i < n; i++)
            means[i] /= places;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                v[i * n + j] = v[i * n + j] / places - means[i] * means[j];
                scale[i * n + j] = gamma[(number * n + i) * n + j];
            }
        invert_factor(n, v, eps, roundings, w);
        for (int i = 0; i < n; i++) {
            double squares = v[i * n + i] + means[i] * means[i], pivot = w[i * n + i] * w[i * n + i];
            square = squares > square ? squares : square;
            inverse = pivot > inverse ? pivot : inverse;
            precise &= squares - squares == 0; /* neither NaN nor infinite */
        }
        precise &= square * inverse <= most;
        product(n, scale, 0, w, 0, matrix + number * n * n);
        for (int i = 0; i < n; i++) {
            double sum = beta[number * n + i];
            for (int j = 0; j < n; j++)
                sum -= matrix[(number * n + i) * n + j] * means[j];
            offset[number * n + i] = sum;
        }
    }
    if (precise)
        mix(n, map, offset, matrix, x, NULL, NULL, y);
    return precise;
}

/* The gradients by x, Γ and β from that by y, g; room (numbers, 2·n·n + 2·n). All maps have the same strides. */
void whitening_backward(int n, const struct map *map, const float *g, const float *x, const float *gamma, const double *mean,
                        const double *factor, double *room, float *of_x, float *of_gamma, float *of_beta)
{
    int64_t numbers = map->numbers;
    double places = (double)(map->images * map->positions);
    double *by_x = room, *by_g = by_x + numbers * n * n, *sums = by_g + numbers * n * n, *offset = sums + numbers * n;
    moments(n, map, g, x, by_x, sums);
    for (int64_t number = 0; number < numbers; number++) {
        const double *w = factor + number * n * n, *means = mean + number * n;
        double *sum = sums + number * n, scale[MOST * MOST], products[MOST * MOST], by_gamma[MOST * MOST], lower[MOST * MOST];
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                products[i * n + j] = by_x[(number * n + i) * n + j] - sum[i] * means[j];
                scale[i * n + j] = gamma[(number * n + i) * n + j];
            }
        product(n, products, 0, w, 1, by_gamma);
        /* With W the inverse of the Cholesky factor, dV = ½ Wᵀ (Φ + Φᵀ) W where Φ is the lower triangle of −Γᵀ dΓ with half
           its diagonal (Murray 2016, on the Cholesky decomposition); V adds 2/places · dV (x − μ) to dx. */
        product(n, scale, 1, by_gamma, 0, lower);
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++)
                lower[j * n + i] = lower[i * n + j] = -lower[i * n + j] / places;
        product(n, lower, 0, w, 0, products);
        product(n, w, 1, products, 0, by_x + number * n * n);
        product(n, w, 1, scale, 1, by_g + number * n * n);
        for (int i = 0; i < n; i++) {
            double total = 0;
            for (int j = 0; j < n; j++)
                total -= by_g[(number * n + i) * n + j] * sum[j] / places + by_x[(number * n + i) * n + j] * means[j];
            offset[number * n + i] = total;
            of_beta[number * n + i] = sum[i];
            for (int j = 0; j < n; j++)
                of_gamma[(number * n + i) * n + j] = by_gamma[i * n + j];
        }
    }
    mix(n, map, offset, by_g, g, by_x, x, of_x);
}

/* out = matrix · x + offset: matrices (numbers, n, n) and offsets (numbers, n) in float64. */
void whitening_mix(int n, const struct map *map, const double *matrix, const double *offset, const float *x, float *out)
{
    mix(n, map, offset, matrix, x, NULL, NULL, out);
}
