
/* Recurrent layers in integers. A gate is in units of 1/128, or of 1/256 where tanh(x) = 2 sigmoid(2 x) - 1 is taken of it; what
 * it becomes is in units of 1/2^15, and the memory of an LSTM of 1/2^20. */
@SIGMOIDS@
INLINE int32_t gate_at(const uint8_t *from)
{
    int16_t number;
    memcpy(&number, from, sizeof number);
    return number;
}
INLINE void put_gate(uint8_t *to, int32_t number)
{
    const int16_t half = (int16_t)number;
    memcpy(to, &half, sizeof half);
}
INLINE int32_t gate_of(int32_t sum, float factor)
{
    const float scaled = (float)sum * factor;
    return (int32_t)(scaled > 0 ? scaled < @LARGEST@ ? scaled : @LARGEST@ : 0) - @ZERO@;
}
INLINE int32_t sigmoid_of(int32_t gate)
{
    const int32_t size = gate < 0 ? -gate : gate, high = sigmoids[size < @ENDS@ ? size : @ENDS@];
    return gate < 0 ? 32768 - high : high;
}
INLINE int32_t tanh_of(int32_t gate) { return 2 * sigmoid_of(gate) - 32768; }

/* What a step makes of `gap` numbers of each gate: states, in the place of the first gate, and for the next step the memory; of a
 * GRU that is its state. */
INLINE int32_t memory_at(const uint8_t *from)
{
    int32_t number;
    memcpy(&number, from, sizeof number);
    return number;
}
INLINE void lstm_states(uint8_t *gates, int gap, uint8_t *memory)
{
    for (int u = 0; u < gap; u++, gates += 2, memory += 4) {
        const int32_t gained = sigmoid_of(gate_at(gates)) * tanh_of(gate_at(gates + 4 * gap)) >> 10;
        int32_t cell = (int32_t)((int64_t)sigmoid_of(gate_at(gates + 2 * gap)) * memory_at(memory) >> 15) + gained;
        cell = cell < -@LARGEST_MEMORY@ ? -@LARGEST_MEMORY@ : cell > @LARGEST_MEMORY@ ? @LARGEST_MEMORY@ : cell;
        memcpy(memory, &cell, sizeof cell);
        put_gate(gates, sigmoid_of(gate_at(gates + 6 * gap)) * tanh_of(cell >> 12) >> 15);
    }
}
INLINE void gru_states(uint8_t *gates, int gap, uint8_t *memory)
{
    for (int u = 0; u < gap; u++, gates += 2, memory += 4) {
        const int32_t reset = (int32_t)((int64_t)sigmoid_of(gate_at(gates)) * gate_at(gates + 6 * gap) >> 15);
        const int32_t candidate = tanh_of(gate_at(gates + 4 * gap) + reset), keep = sigmoid_of(gate_at(gates + 2 * gap));
        const int32_t state = candidate + (int32_t)((int64_t)keep * (memory_at(memory) - candidate) >> 15);
        memcpy(memory, &state, sizeof state);
        put_gate(gates, state);
    }
}
INLINE void tanh_states(uint8_t *gates, int gap, uint8_t *memory)
{
    (void)memory;
    for (int u = 0; u < gap; u++, gates += 2)
        put_gate(gates, tanh_of(gate_at(gates)));
}
