// Vectors, exp and tanh, and the kernels that pass over a tile once.
// Included for each level and scalar; kernels_table.h ends what is defined here.

#define FN(NAME) FG_JOIN(NAME, _, FG_LEVEL_NAME, FG_IS_DOUBLE)

#if FG_IS_DOUBLE
#define REAL double
#define INT long
#define FG_SUFFIX f64
#else
#define REAL float
#define INT int
#define FG_SUFFIX f32
#endif

#define LANES ((long)(FG_VECTOR_BYTES / sizeof(REAL)))
#define VEC FN(vec)
#define IVEC FN(ivec)
#define DVEC FN(dvec)

typedef REAL VEC __attribute__((ext_vector_type(FG_VECTOR_BYTES / sizeof(REAL))));
typedef INT IVEC __attribute__((ext_vector_type(FG_VECTOR_BYTES / sizeof(REAL))));
// As many doubles as a VEC has lanes.
typedef double DVEC __attribute__((ext_vector_type(FG_VECTOR_BYTES / sizeof(REAL))));

static inline __attribute__((always_inline)) VEC FN(load)(const REAL *from) {
    VEC value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline __attribute__((always_inline)) void FN(store)(REAL *to, VEC value) {
    memcpy(to, &value, sizeof value);
}

// Macros, not functions: at the AVX2 level a DVEC for floats is two registers wide, which no calling
// convention passes.
#define FG_LOAD_DOUBLES(FROM)                                                                      \
    ({                                                                                             \
        DVEC loaded_;                                                                              \
        memcpy(&loaded_, (FROM), sizeof loaded_);                                                  \
        loaded_;                                                                                   \
    })
#define FG_STORE_DOUBLES(TO, VALUE)                                                                \
    do {                                                                                           \
        DVEC stored_ = (VALUE);                                                                    \
        memcpy((TO), &stored_, sizeof stored_);                                                    \
    } while (0)

// exp: x = n ln 2 + r, |r| <= ln 2 / 2, by a Taylor polynomial in r whose error is below the
// rounding of the type; n goes into the exponent bits in two halves, so that subnormal and
// overflowing results come out right too.
static inline __attribute__((always_inline)) VEC FN(exp_of)(VEC x) {
#if FG_IS_DOUBLE
    const VEC low = -745.2, high = 709.8, log2_e = 1.4426950408889634074;
    const VEC ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
    const VEC magic = 0x1.8p52;
    const long bias = 1023, mantissa = 52;
#else
    const VEC low = -104.0f, high = 88.8f, log2_e = 1.44269504088896341f;
    const VEC ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const VEC magic = 0x1.8p23f;
    const int bias = 127, mantissa = 23;
#endif
    VEC inside = __builtin_elementwise_min(__builtin_elementwise_max(x, low), high);
    VEC rounded = inside * log2_e + magic;
    VEC n = rounded - magic;
    VEC r = inside - n * ln2_high;
    r = r - n * ln2_low;
#if FG_IS_DOUBLE
    VEC p = 1.6059043836821615e-10;
    p = p * r + 2.08767569878681e-09;
    p = p * r + 2.505210838544172e-08;
    p = p * r + 2.755731922398589e-07;
    p = p * r + 2.7557319223985893e-06;
    p = p * r + 2.48015873015873e-05;
    p = p * r + 1.984126984126984e-04;
    p = p * r + 1.388888888888889e-03;
    p = p * r + 8.333333333333333e-03;
    p = p * r + 4.1666666666666664e-02;
    p = p * r + 1.6666666666666666e-01;
#else
    VEC p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
#endif
    p = p * r + (REAL)0.5;
    p = p * (r * r) + r;
    p = p + (REAL)1;
    IVEC exponent = __builtin_convertvector(n, IVEC);
    IVEC half = exponent >> 1;
    IVEC first = (half + bias) << mantissa;
    IVEC second = (exponent - half + bias) << mantissa;
    VEC result = p * (VEC)first * (VEC)second;
    return x != x ? x : result;
}

// tanh: a polynomial or a rational near 0, where 1 - 2 / (exp(2 |x|) + 1) would cancel.
// The coefficients are those of Cephes.
static inline __attribute__((always_inline)) VEC FN(tanh_of)(VEC x) {
    VEC magnitude = __builtin_elementwise_abs(x);
    VEC e = FN(exp_of)(magnitude + magnitude);
    VEC large = (REAL)1 - (REAL)2 / (e + (REAL)1);
    large = x < (VEC)0 ? -large : large;
    VEC z = x * x;
#if FG_IS_DOUBLE
    VEC p = -9.64399179425052238628e-1 * z - 9.92877231001918586564e1;
    p = p * z - 1.61468768441708447952e3;
    VEC q = z + 1.12811678491632931402e2;
    q = q * z + 2.23548839060100448583e3;
    q = q * z + 4.84406305325125486048e3;
    VEC small = x + x * z * (p / q);
#else
    VEC p = -5.70498872745e-3f * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    VEC small = x + x * z * p;
#endif
    return magnitude < (VEC)(REAL)0.625 ? small : large;
}

#define FG_OVER_ROWS for (long r = 0; r < rows; r += LANES)

static void FN(clamp)(long rows, REAL bound, const REAL *x, REAL *y) {
    FG_OVER_ROWS FN(store)(y + r, __builtin_elementwise_min(
        __builtin_elementwise_max(FN(load)(x + r), (VEC)-bound), (VEC)bound));
}

static void FN(clamp_backward)(long rows, REAL bound, const REAL *y, const REAL *dy, REAL *dx) {
    FG_OVER_ROWS {
        VEC inside = __builtin_elementwise_abs(FN(load)(y + r)) < (VEC)bound
            ? FN(load)(dy + r) : (VEC)0;
        FN(store)(dx + r, FN(load)(dx + r) + inside);
    }
}

static void FN(affine_forward)(long rows, REAL bound, REAL *s, REAL *scale, const REAL *t, REAL *x,
                               double *log_det) {
    const REAL inverse = 1 / bound;
    FG_OVER_ROWS {
        VEC log_scale = bound * FN(tanh_of)(FN(load)(s + r) * inverse);
        VEC factor = FN(exp_of)(log_scale);
        FN(store)(s + r, log_scale);
        FN(store)(scale + r, factor);
        FN(store)(x + r, FN(load)(x + r) * factor + FN(load)(t + r));
        FG_STORE_DOUBLES(log_det + r, FG_LOAD_DOUBLES(log_det + r)
            + __builtin_convertvector(log_scale, DVEC));
    }
}

static void FN(affine_inverse)(long rows, REAL bound, REAL *s, const REAL *t, REAL *x,
                               double *log_det) {
    const REAL inverse = 1 / bound;
    FG_OVER_ROWS {
        VEC log_scale = bound * FN(tanh_of)(FN(load)(s + r) * inverse);
        FN(store)(s + r, log_scale);
        FN(store)(x + r, (FN(load)(x + r) - FN(load)(t + r)) * FN(exp_of)(-log_scale));
        FG_STORE_DOUBLES(log_det + r, FG_LOAD_DOUBLES(log_det + r)
            - __builtin_convertvector(log_scale, DVEC));
    }
}

static void FN(affine_backward)(long rows, REAL bound, const REAL *s, const REAL *scale,
                                const REAL *x, const REAL *dl, REAL *dx, REAL *ds, REAL *dt) {
    const REAL inverse = 1 / bound;
    FG_OVER_ROWS {
        VEC gradient = FN(load)(dx + r);
        VEC scaled = gradient * FN(load)(scale + r);
        VEC share = FN(load)(s + r) * inverse;
        VEC log_scale_gradient = scaled * FN(load)(x + r) + FN(load)(dl + r);
        FN(store)(ds + r, log_scale_gradient * ((REAL)1 - share * share));
        FN(store)(dt + r, gradient);
        FN(store)(dx + r, scaled);
    }
}

static void FN(scale_shift)(long rows, REAL scale, REAL shift, REAL *x) {
    FG_OVER_ROWS FN(store)(x + r, FN(load)(x + r) * scale + shift);
}

static void FN(add_scaled)(long rows, REAL factor, const REAL *x, REAL *y) {
    FG_OVER_ROWS FN(store)(y + r, FN(load)(y + r) + FN(load)(x + r) * factor);
}

static void FN(add_relu)(long rows, const REAL *x, REAL *y) {
    FG_OVER_ROWS FN(store)(y + r, __builtin_elementwise_max(
        FN(load)(y + r) + FN(load)(x + r), (VEC)0));
}

static void FN(add_where_positive)(long rows, const REAL *mask, const REAL *dy, REAL *dx) {
    FG_OVER_ROWS {
        VEC passed = FN(load)(mask + r) > (VEC)0 ? FN(load)(dy + r) : (VEC)0;
        FN(store)(dx + r, FN(load)(dx + r) + passed);
    }
}

static void FN(add_constant)(long rows, double value, double *log_det) {
    for (long r = 0; r < rows; r++) log_det[r] += value;
}

// Sums over rows go through LANES partial sums in double, taken together in a fixed order.
#define FG_TOTAL(SUM, PARTIAL)                                                                     \
    double SUM = 0;                                                                                \
    for (long lane = 0; lane < LANES; lane++) SUM += (PARTIAL)[lane]

static double FN(dot)(long rows, const REAL *x, const REAL *y) {
    DVEC partial = 0;
    long r = 0;
    for (; r + LANES <= rows; r += LANES)
        partial += __builtin_convertvector(FN(load)(x + r), DVEC)
            * __builtin_convertvector(FN(load)(y + r), DVEC);
    FG_TOTAL(sum, partial);
    for (; r < rows; r++) sum += (double)x[r] * (double)y[r];
    return sum;
}

static double FN(sum)(long rows, const REAL *x) {
    DVEC partial = 0;
    long r = 0;
    for (; r + LANES <= rows; r += LANES)
        partial += __builtin_convertvector(FN(load)(x + r), DVEC);
    FG_TOTAL(sum, partial);
    for (; r < rows; r++) sum += (double)x[r];
    return sum;
}

static void FN(normal_log_density)(long rows, long stride, long features, const REAL *x,
                                   double *log_density) {
    const double half_log_two_pi = 0.91893853320467274178;
    FG_OVER_ROWS {
        DVEC squares = 0;
        for (long f = 0; f < features; f++) {
            DVEC value = __builtin_convertvector(FN(load)(x + f * stride + r), DVEC);
            squares += value * value;
        }
        FG_STORE_DOUBLES(log_density + r, FG_LOAD_DOUBLES(log_density + r)
            - 0.5 * squares - half_log_two_pi * (double)features);
    }
}

static void FN(normal_backward)(long rows, long stride, long features, const REAL *row_gradient,
                                const REAL *x, REAL *dx) {
    for (long f = 0; f < features; f++)
        FG_OVER_ROWS FN(store)(dx + f * stride + r,
                               -FN(load)(row_gradient + r) * FN(load)(x + f * stride + r));
}

static void FN(load_tile)(long rows, long stride, long features, const REAL *table, REAL *x) {
    const long padded = (rows + FG_ROW_PADDING - 1) / FG_ROW_PADDING * FG_ROW_PADDING;
    for (long f = 0; f < features; f++) {
        for (long r = 0; r < rows; r++) x[f * stride + r] = table[r * features + f];
        for (long r = rows; r < padded; r++) x[f * stride + r] = 0;
    }
}

static void FN(store_tile)(long rows, long stride, long features, const REAL *x, REAL *table) {
    for (long r = 0; r < rows; r++)
        for (long f = 0; f < features; f++) table[r * features + f] = x[f * stride + r];
}

static void FN(exp_all)(long count, const REAL *x, REAL *y) {
    long i = 0;
    for (; i + LANES <= count; i += LANES) FN(store)(y + i, FN(exp_of)(FN(load)(x + i)));
    for (; i < count; i++) y[i] = FN(exp_of)((VEC)x[i])[0];
}

static void FN(tanh_all)(long count, const REAL *x, REAL *y) {
    long i = 0;
    for (; i + LANES <= count; i += LANES) FN(store)(y + i, FN(tanh_of)(FN(load)(x + i)));
    for (; i < count; i++) y[i] = FN(tanh_of)((VEC)x[i])[0];
}

static void FN(add)(long count, const REAL *addend, REAL *sum) {
    for (long i = 0; i < count; i++) sum[i] += addend[i];
}

static double FN(sum_of_squares)(long count, const REAL *x) { return FN(dot)(count, x, x); }

static void FN(adam)(long count, const fg_adam_step *step, const REAL *gradient, REAL *parameters,
                     REAL *first, REAL *second, REAL *average) {
    const REAL gradient_scale = (REAL)step->gradient_scale;
    const REAL first_decay = (REAL)step->first_decay, second_decay = (REAL)step->second_decay;
    const REAL first_share = (REAL)(1 - step->first_decay);
    const REAL second_share = (REAL)(1 - step->second_decay);
    const REAL second_correction = (REAL)step->second_correction;
    const REAL rate = (REAL)(step->learning_rate * step->first_correction);
    const REAL kept = (REAL)(1 - step->learning_rate * step->weight_decay);
    const REAL epsilon = (REAL)step->epsilon;
    const REAL average_share = (REAL)(1 - step->average_decay);
    long i = 0;
#define FG_ADAM(TYPE, LOAD, STORE)                                                                 \
    do {                                                                                           \
        TYPE g = LOAD(gradient + i) * gradient_scale;                                              \
        TYPE m = LOAD(first + i) * first_decay + g * first_share;                                  \
        TYPE v = LOAD(second + i) * second_decay + g * g * second_share;                           \
        TYPE root = __builtin_elementwise_sqrt(v * second_correction);                             \
        TYPE p = LOAD(parameters + i) * kept - rate * m / (root + epsilon);                        \
        TYPE a = LOAD(average + i);                                                                \
        STORE(first + i, m);                                                                       \
        STORE(second + i, v);                                                                      \
        STORE(parameters + i, p);                                                                  \
        STORE(average + i, a + (p - a) * average_share);                                           \
    } while (0)
#define FG_SCALAR_LOAD(FROM) (*(FROM))
#define FG_SCALAR_STORE(TO, VALUE) (*(TO) = (VALUE))
    for (; i + LANES <= count; i += LANES) FG_ADAM(VEC, FN(load), FN(store));
    for (; i < count; i++) FG_ADAM(REAL, FG_SCALAR_LOAD, FG_SCALAR_STORE);
#undef FG_SCALAR_LOAD
#undef FG_SCALAR_STORE
#undef FG_ADAM
}
