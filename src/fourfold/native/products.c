/* Linear layers of an algebra as a few real ones that are smaller.
 *
 * The product of an algebra is bilinear: y = C ((M w) * (E x)) with constant matrices E, M and C, where * multiplies component
 * by component. So a layer is `rank` real layers between a mixing of the inputs' components and one of the outputs', and so
 * are its gradients: `fourfold.nn.few_products` has the matrices.
 */

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
