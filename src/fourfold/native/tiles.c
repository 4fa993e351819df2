/* Products of dense float32 matrices.
 *
 * A tile of the result, 6 rows of 64 columns (of 16 without AVX-512), stays in registers while the depth of the product is
 * walked: every element of the left matrix is broadcast and meets whole vectors of the right one. `benchmarks/linear.py`
 * compares the products with torch's.
 */
#ifdef __AVX512F__
#define TILE_VECTORS 4
#else
#define TILE_VECTORS 2
#endif
#define TILE_ROWS 6
#define TILE_COLUMNS (TILE_VECTORS * LANES)
#define PANEL 64 /* columns of the right matrix that are worked on together ... */
#define DEPTH 112 /* ... and rows: 28 KiB, which a first-level cache of 32 KiB holds with the left matrix's six rows */

/* A matrix whose element (i, j) is data[i row + j column]. */
struct strided {
    const float *data;
    int64_t row, column;
};

/* c = a b, or c += a b: a (rows, depth), b (depth, vectors) in rows of PANEL floats, c in rows of c_row floats. */
INLINE void tile(const int rows, const int vectors, int64_t depth, struct strided a, const float *b, float *c, int64_t c_row,
                 int add)
{
    vector sum[TILE_ROWS][TILE_VECTORS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            sum[r][v] = (vector){0};
    for (int64_t k = 0; k < depth; k++, a.data += a.column, b += PANEL) {
        vector right[TILE_VECTORS];
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++)
            right[v] = ((const vector *)b)[v];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            float left = a.data[r * a.row];
#pragma GCC unroll 8
            for (int v = 0; v < vectors; v++)
                sum[r][v] += left * right[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int v = 0; v < vectors; v++) {
            anywhere *to = (anywhere *)(c + r * c_row + v * LANES);
            if (add)
                sum[r][v] += *to;
            *to = sum[r][v];
        }
}

typedef void tile_function(int64_t depth, struct strided a, const float *b, float *c, int64_t c_row, int add);

#define TILE(rows, vectors) \
    APART void tile_##rows##_##vectors(int64_t depth, struct strided a, const float *b, float *c, int64_t c_row, int add) \
    { \
        tile(rows, vectors, depth, a, b, c, c_row, add); \
    }
#define TILES(vectors) \
    TILE(1, vectors) TILE(2, vectors) TILE(3, vectors) TILE(4, vectors) TILE(5, vectors) TILE(6, vectors)
#define NAMES(vectors) \
    {tile_1_##vectors, tile_2_##vectors, tile_3_##vectors, tile_4_##vectors, tile_5_##vectors, tile_6_##vectors}
#if TILE_VECTORS == 4
TILES(1) TILES(2) TILES(3) TILES(4)
static tile_function *const tiles[TILE_VECTORS][TILE_ROWS] = {NAMES(1), NAMES(2), NAMES(3), NAMES(4)};
#else
TILES(1) TILES(2)
static tile_function *const tiles[TILE_VECTORS][TILE_ROWS] = {NAMES(1), NAMES(2)};
#endif

/* A tile whose columns, perhaps no whole vectors, end where the result's rows end. */
static void last_tile(int64_t rows, int64_t columns, int64_t depth, struct strided a, const float *b, float *c, int64_t c_row,
                      int add)
{
    int64_t vectors = (columns + LANES - 1) / LANES;
    float whole[TILE_ROWS * TILE_COLUMNS] __attribute__((aligned(64)));
    tiles[vectors - 1][rows - 1](depth, a, b, whole, TILE_COLUMNS, 0);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < columns; j++)
            c[r * c_row + j] = whole[r * TILE_COLUMNS + j] + (add ? c[r * c_row + j] : 0);
}

/* Return columns of b as rows of PANEL floats with zeros behind them, beginning at a multiple of 64 bytes: in `room`, unless
 * they lie so already. */
static const float *panel_of(const float *b, int64_t b_row, int64_t depth, int64_t columns, float *room)
{
    if (b_row == PANEL && columns == PANEL && (uintptr_t)b % 64 == 0)
        return b;
    for (int64_t k = 0; k < depth; k++) {
        memcpy(room + k * PANEL, b + k * b_row, columns * sizeof *b);
        memset(room + k * PANEL + columns, 0, (PANEL - columns) * sizeof *b);
    }
    return room;
}

/* c = a b: a (rows, depth), b (depth, columns) in rows of b_row floats, c (rows, columns) in rows of c_row floats. Sums are
 * taken in an order that the sizes alone decide. */
static void multiply(int64_t rows, int64_t columns, int64_t depth, struct strided a, const float *b, int64_t b_row, float *c,
                     int64_t c_row)
{
    float room[DEPTH * PANEL] __attribute__((aligned(64)));
    for (int64_t j = 0; j < columns; j += PANEL)
        for (int64_t k = 0; k < depth; k += DEPTH) {
            int64_t width = smaller(columns - j, PANEL), deep = smaller(depth - k, DEPTH);
            const float *panel = panel_of(b + k * b_row + j, b_row, deep, width, room);
            for (int64_t i = 0; i < rows; i += TILE_ROWS) {
                int64_t high = smaller(rows - i, TILE_ROWS);
                struct strided left = {a.data + i * a.row + k * a.column, a.row, a.column};
                for (int64_t v = 0; v < width; v += TILE_COLUMNS) {
                    int64_t wide = smaller(width - v, TILE_COLUMNS);
                    float *to = c + i * c_row + j + v;
                    if (wide % LANES)
                        last_tile(high, wide, deep, left, panel + v, to, c_row, k > 0);
                    else
                        tiles[wide / LANES - 1][high - 1](deep, left, panel + v, to, c_row, k > 0);
                }
            }
        }
}

/* Turn eight rows of eight numbers. */
INLINE void turn_eight(const float *x, int64_t x_row, float *y, int64_t y_row)
{
    eight rows[8], next[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        memcpy(rows + i, x + i * x_row, sizeof *rows);
#pragma GCC unroll 3
    for (int stage = 0; stage < 3; stage++) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            next[2 * i] = SHUFFLE(rows[i], rows[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            next[2 * i + 1] = SHUFFLE(rows[i], rows[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(rows, next, sizeof rows);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        memcpy(y + i * y_row, rows + i, sizeof *rows);
}

/* Turn x (rows, columns), in rows of x_row floats, to y (columns, rows), in rows of y_row floats. */
static void turn(int64_t rows, int64_t columns, const float *x, int64_t x_row, float *y, int64_t y_row)
{
    int64_t whole_rows = rows / 8 * 8, whole_columns = columns / 8 * 8;
    for (int64_t j = 0; j < whole_columns; j += 8)
        for (int64_t i = 0; i < whole_rows; i += 8)
            turn_eight(x + i * x_row + j, x_row, y + j * y_row + i, y_row);
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = j < whole_columns ? whole_rows : 0; i < rows; i++)
            y[j * y_row + i] = x[i * x_row + j];
}
