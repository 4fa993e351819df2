
/* The sigmoid with choices among integers only, so that compilers make vectors of it. */
INLINE float sigmoid_of(float x)
{
    const uint32_t bits = bits_of(x), size = bits & 0x7fffffffu, most = 0x42ae0000u; /* 87 */
    const float below = of_bits((size < most ? size : most) | 0x80000000u); /* -|x| */
    const int n = (int)(below * 1.44269504f - 0.5f);
    const float rest = (below - (float)n * 0.693359375f) + (float)n * 2.12194440e-4f;
    const float small = (1 + exp_series(rest)) * of_bits((uint32_t)(127 + n) << 23);
    const float result = of_bits(bits >> 31 ? bits_of(small) : 0x3f800000u) / (1 + small);
    return of_bits(size > 0x7f800000u ? bits : bits_of(result)); /* NaN stays */
}
INLINE float tanh_of(float x) { return 2 * sigmoid_of(2 * x) - 1; }

/* What a step makes of `gap` numbers of each gate: states, in the place of the first gate, and for the next step the memory; of a
 * GRU that is its state. */
INLINE void lstm_states(float *gates, int gap, float *memory)
{
    for (int u = 0; u < gap; u++) {
        memory[u] = sigmoid_of(gates[gap + u]) * memory[u] + sigmoid_of(gates[u]) * tanh_of(gates[2 * gap + u]);
        gates[u] = sigmoid_of(gates[3 * gap + u]) * tanh_of(memory[u]);
    }
}
INLINE void gru_states(float *gates, int gap, float *memory)
{
    for (int u = 0; u < gap; u++) {
        const float candidate = tanh_of(gates[2 * gap + u] + sigmoid_of(gates[u]) * gates[3 * gap + u]);
        gates[u] = memory[u] = candidate + sigmoid_of(gates[gap + u]) * (memory[u] - candidate);
    }
}
INLINE void tanh_states(float *gates, int gap, float *memory)
{
    (void)memory;
    for (int u = 0; u < gap; u++)
        gates[u] = tanh_of(gates[u]);
}
