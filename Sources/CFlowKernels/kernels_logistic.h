// The logarithm, the softplus, and the logistic density of latent rows.

// log of a positive, normal number: x = 2^n m with sqrt(1/2) <= m < sqrt(2), and
// log m = 2 atanh(t) with t = (m - 1) / (m + 1), |t| < 0.172, by its series to below the rounding.
static inline __attribute__((always_inline)) VEC FN(log_of)(VEC x) {
#if FG_IS_DOUBLE
    const long mantissa = 52, root_half = 0x3FE6A09E667F3BCD;
    const VEC ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
#else
    const int mantissa = 23, root_half = 0x3F3504F3;
    const VEC ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
#endif
    IVEC bits = (IVEC)x;
    IVEC exponent = (bits - root_half) >> mantissa;
    VEC m = (VEC)(bits - (exponent << mantissa));
    VEC n = __builtin_convertvector(exponent, VEC);
    VEC t = (m - (REAL)1) / (m + (REAL)1);
    VEC square = t * t;
#if FG_IS_DOUBLE
    VEC p = (REAL)2 / 21;
    p = p * square + (REAL)2 / 19;
    p = p * square + (REAL)2 / 17;
    p = p * square + (REAL)2 / 15;
    p = p * square + (REAL)2 / 13;
    p = p * square + (REAL)2 / 11;
    p = p * square + (REAL)2 / 9;
#else
    VEC p = (REAL)2 / 9;
#endif
    p = p * square + (REAL)2 / 7;
    p = p * square + (REAL)2 / 5;
    p = p * square + (REAL)2 / 3;
    VEC log_m = (t + t) + t * square * p;
    return n * ln2_high + (n * ln2_low + log_m);
}

// log(1 + u) for 0 <= u <= 1: the rounding of 1 + u is taken back to first order.
static inline __attribute__((always_inline)) VEC FN(log1p_of)(VEC u) {
    VEC sum = u + (REAL)1;
    return FN(log_of)(sum) + (u - (sum - (REAL)1)) / sum;
}

// log(1 + exp(x))
static inline __attribute__((always_inline)) VEC FN(softplus_of)(VEC x) {
    VEC tail = FN(log1p_of)(FN(exp_of)(-__builtin_elementwise_abs(x)));
    return __builtin_elementwise_max(x, (VEC)0) + tail;
}

static void FN(log_all)(long count, const REAL *x, REAL *y) {
    long i = 0;
    for (; i + LANES <= count; i += LANES) FN(store)(y + i, FN(log_of)(FN(load)(x + i)));
    for (; i < count; i++) y[i] = FN(log_of)((VEC)x[i])[0];
}

static void FN(softplus_all)(long count, const REAL *x, REAL *y) {
    long i = 0;
    for (; i + LANES <= count; i += LANES) FN(store)(y + i, FN(softplus_of)(FN(load)(x + i)));
    for (; i < count; i++) y[i] = FN(softplus_of)((VEC)x[i])[0];
}

static void FN(logistic_log_density)(long rows, long stride, long features, const REAL *x,
                                     double *log_density) {
    FG_OVER_ROWS {
        DVEC sum = 0;
        for (long f = 0; f < features; f++) {
            VEC size = __builtin_elementwise_abs(FN(load)(x + f * stride + r));
            VEC tail = FN(log1p_of)(FN(exp_of)(-size));
            sum += __builtin_convertvector(size, DVEC)
                + 2.0 * __builtin_convertvector(tail, DVEC);
        }
        FG_STORE_DOUBLES(log_density + r, FG_LOAD_DOUBLES(log_density + r) - sum);
    }
}

static void FN(logistic_backward)(long rows, long stride, long features, const REAL *row_gradient,
                                  const REAL *x, REAL *dx) {
    for (long f = 0; f < features; f++)
        FG_OVER_ROWS FN(store)(dx + f * stride + r,
                               -FN(load)(row_gradient + r)
                                   * FN(tanh_of)(FN(load)(x + f * stride + r) * (REAL)0.5));
}
