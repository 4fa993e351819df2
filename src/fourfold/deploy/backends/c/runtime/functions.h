
/* Functions of single numbers, without a library: of the C standard's names with a relative error of some 1e-7, as Cephes has them. */
INLINE float of_bits(uint32_t bits)
{
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}
INLINE uint32_t bits_of(float number)
{
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}
INLINE float exp_series(float x) { return ((((((1.9875691500e-4f * x + 1.3981999507e-3f) * x + 8.3334519073e-3f) * x + 4.1665795894e-2f) * x + 1.6666665459e-1f) * x + 5.0000001201e-1f) * x) * x + x; }
INLINE float exp_1(float x)
{
    if (x != x)
        return x;
    if (x > 88.7228f)
        return INFINITY;
    if (x < -103.0f)
        return 0;
    const int n = (int)(x * 1.44269504f + (x < 0 ? -0.5f : 0.5f)), half = n / 2;
    const float rest = (x - (float)n * 0.693359375f) + (float)n * 2.12194440e-4f;
    return (1 + exp_series(rest)) * of_bits((uint32_t)(127 + half) << 23) * of_bits((uint32_t)(127 + n - half) << 23);
}
INLINE float expm1_1(float x) { return x > -0.34f && x < 0.34f ? exp_series(x) : exp_1(x) - 1; }
INLINE float log_1(float x)
{
    if (!(x > 0))
        return x == 0 ? -INFINITY : NAN;
    if (x > 3.4028234e38f)
        return x;
    float exponent = 0;
    if (x < 1.1754944e-38f) {
        x *= 16777216.0f;
        exponent = -24;
    }
    const uint32_t bits = bits_of(x) - 0x3f3504f3u; /* so that the mantissa is from sqrt(1/2) to sqrt(2) */
    exponent += (float)((int32_t)bits >> 23);
    const float m = of_bits((bits & 0x007fffffu) + 0x3f3504f3u) - 1, square = m * m;
    float y = ((((((((7.0376836292e-2f * m - 1.1514610310e-1f) * m + 1.1676998740e-1f) * m - 1.2420140846e-1f) * m + 1.4249322787e-1f) * m - 1.6668057665e-1f) * m + 2.0000714765e-1f) * m - 2.4999993993e-1f) * m + 3.3333331174e-1f) * m * square;
    y += -2.12194440e-4f * exponent;
    y += -0.5f * square;
    return (m + y) + 0.693359375f * exponent;
}
INLINE float sqrt_1(float x)
{
    if (!(x > 0) || x > 3.4028234e38f)
        return x == 0 || x > 0 ? x : NAN;
    const int small = x < 1e-30f;
    const float scaled = small ? x * 1.8446744e19f : x;
    float y = of_bits(0x1fbd1df5u + (bits_of(scaled) >> 1));
    y = 0.5f * (y + scaled / y);
    y = 0.5f * (y + scaled / y);
    y = 0.5f * (y + scaled / y);
    return small ? y * 2.3283064e-10f : y;
}
INLINE float sigmoid_1(float x)
{
    const float small = exp_1(x < 0 ? x : -x);
    return (x < 0 ? small : 1) / (1 + small);
}
INLINE float tanh_1(float x)
{
    const float size = x < 0 ? -x : x, square = x * x;
    if (size < 0.625f)
        return ((((-5.70498872745e-3f * square + 2.06390887954e-2f) * square - 5.37397155531e-2f) * square + 1.33314422036e-1f) * square - 3.33332819422e-1f) * square * x + x;
    const float high = 1 - 2 / (exp_1(2 * size) + 1);
    return x < 0 ? -high : high;
}
INLINE float erf_1(float x)
{
    const float size = x < 0 ? -x : x, t = 1 / (1 + 0.3275911f * size);
    const float high = 1 - ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t * exp_1(-size * size);
    return x < 0 ? -high : high;
}
INLINE float log1pexp_1(float x) { return (x > 0 ? x : 0) + log_1(1 + exp_1(x > 0 ? -x : x)); }
INLINE float power_1(float x, float exponent, int is_integer, int is_odd)
{
    if (x == 0)
        return exponent > 0 ? 0 : exponent < 0 ? INFINITY : 1;
    if (x < 0 && !is_integer)
        return NAN;
    const float size = exp_1(exponent * log_1(x < 0 ? -x : x));
    return x < 0 && is_odd ? -size : size;
}
INLINE float clip_1(float x, float low, float high) { return x < low ? low : x > high ? high : x; }
