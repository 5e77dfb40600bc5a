// The dense layer on tiles: a block of outputs times some vectors of rows stays in registers
// while the inputs run by. Weights are read in place: a block's rows of weights are a few
// sequential streams, which the caches keep for all blocks of rows of the tile.

// acc[o][v] over `count` terms: weight (o, k) is weights[o * output_step + k * term_step].
#define FG_BLOCK(NAME, OUTPUTS, VECTORS)                                                           \
    static inline __attribute__((always_inline)) void FN(NAME)(                                    \
        long stride, long count, const REAL *restrict weights, long output_step, long term_step,   \
        const REAL *restrict x, VEC acc[OUTPUTS][VECTORS]) {                                       \
        for (long k = 0; k < count; k++) {                                                         \
            VEC terms[VECTORS];                                                                    \
            _Pragma("clang loop unroll(full)") for (int v = 0; v < VECTORS; v++)                   \
                terms[v] = FN(load)(x + k * stride + v * LANES);                                   \
            _Pragma("clang loop unroll(full)") for (int o = 0; o < OUTPUTS; o++) {                 \
                VEC weight = (VEC)weights[o * output_step + k * term_step];                        \
                _Pragma("clang loop unroll(full)") for (int v = 0; v < VECTORS; v++)               \
                    acc[o][v] += weight * terms[v];                                                \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static inline __attribute__((always_inline)) void FN(NAME##_forward)(                          \
        long stride, long inputs, const REAL *weights, const REAL *bias, const REAL *x, REAL *y,   \
        int relu) {                                                                                \
        VEC acc[OUTPUTS][VECTORS];                                                                 \
        _Pragma("clang loop unroll(full)") for (int o = 0; o < OUTPUTS; o++)                       \
            _Pragma("clang loop unroll(full)") for (int v = 0; v < VECTORS; v++)                   \
                acc[o][v] = (VEC)bias[o];                                                          \
        FN(NAME)(stride, inputs, weights, inputs, 1, x, acc);                                      \
        _Pragma("clang loop unroll(full)") for (int o = 0; o < OUTPUTS; o++)                       \
            _Pragma("clang loop unroll(full)") for (int v = 0; v < VECTORS; v++) {                 \
                VEC value = acc[o][v];                                                             \
                if (relu) value = __builtin_elementwise_max(value, (VEC)0);                        \
                FN(store)(y + o * stride + v * LANES, value);                                      \
            }                                                                                      \
    }                                                                                              \
    static inline __attribute__((always_inline)) void FN(NAME##_backward)(                         \
        long stride, long outputs, long inputs, const REAL *weights, const REAL *dy,               \
        const REAL *mask, REAL *dx) {                                                              \
        VEC acc[OUTPUTS][VECTORS];                                                                 \
        _Pragma("clang loop unroll(full)") for (int o = 0; o < OUTPUTS; o++)                       \
            _Pragma("clang loop unroll(full)") for (int v = 0; v < VECTORS; v++)                   \
                acc[o][v] = (VEC)0;                                                                \
        FN(NAME)(stride, outputs, weights, 1, inputs, dy, acc);                                    \
        _Pragma("clang loop unroll(full)") for (int o = 0; o < OUTPUTS; o++)                       \
            _Pragma("clang loop unroll(full)") for (int v = 0; v < VECTORS; v++) {                 \
                VEC value = acc[o][v];                                                             \
                if (mask)                                                                          \
                    value = FN(load)(mask + o * stride + v * LANES) > (VEC)0 ? value : (VEC)0;     \
                FN(store)(dx + o * stride + v * LANES, value);                                     \
            }                                                                                      \
    }

FG_BLOCK(block_full_wide, FG_BLOCK_OUTPUTS, FG_BLOCK_VECTORS)
FG_BLOCK(block_full_thin, FG_THIN_OUTPUTS, 1)
FG_BLOCK(block_two_wide, 2, FG_BLOCK_VECTORS)
FG_BLOCK(block_two_thin, 2, 1)
FG_BLOCK(block_one_wide, 1, FG_BLOCK_VECTORS)
FG_BLOCK(block_one_thin, 1, 1)

// Runs FULL, a block of SIDE outputs, TWO and ONE over COUNT outputs.
#define FG_OVER_OUTPUTS(COUNT, SIDE, FULL, TWO, ONE)                                               \
    do {                                                                                           \
        long o = 0;                                                                                \
        for (; o + (SIDE) <= (COUNT); o += (SIDE)) FULL;                                           \
        for (; o + 2 <= (COUNT); o += 2) TWO;                                                      \
        for (; o < (COUNT); o++) ONE;                                                              \
    } while (0)

#define FG_FORWARD(NAME)                                                                           \
    FN(NAME##_forward)(stride, inputs, weights + o * inputs, bias + o, x + r, y + o * stride + r,  \
                       relu)

static __attribute__((noinline)) void FN(dense_by)(
    long rows, long stride, long outputs, long inputs, const REAL *weights, const REAL *bias,
    const REAL *x, REAL *y, const int relu) {
    long r = 0;
    for (; r + (FG_BLOCK_VECTORS - 1) * LANES < rows; r += FG_BLOCK_VECTORS * LANES)
        FG_OVER_OUTPUTS(outputs, FG_BLOCK_OUTPUTS, FG_FORWARD(block_full_wide),
                        FG_FORWARD(block_two_wide), FG_FORWARD(block_one_wide));
    for (; r < rows; r += LANES)
        FG_OVER_OUTPUTS(outputs, FG_THIN_OUTPUTS, FG_FORWARD(block_full_thin),
                        FG_FORWARD(block_two_thin), FG_FORWARD(block_one_thin));
}

static void FN(dense)(long rows, long stride, long outputs, long inputs, const REAL *weights,
                      const REAL *bias, const REAL *x, REAL *y, int relu) {
    FN(dense_by)(rows, stride, outputs, inputs, weights, bias, x, y, relu);
}

#define FG_BACKWARD(NAME)                                                                          \
    FN(NAME##_backward)(stride, outputs, inputs, weights + o, dy + r,                              \
                        mask ? mask + o * stride + r : NULL, dx + o * stride + r)

static void FN(dense_backward)(long rows, long stride, long outputs, long inputs,
                               const REAL *weights, const REAL *dy, const REAL *mask, REAL *dx) {
    long r = 0;
    for (; r + (FG_BLOCK_VECTORS - 1) * LANES < rows; r += FG_BLOCK_VECTORS * LANES)
        FG_OVER_OUTPUTS(inputs, FG_BLOCK_OUTPUTS, FG_BACKWARD(block_full_wide),
                        FG_BACKWARD(block_two_wide), FG_BACKWARD(block_one_wide));
    for (; r < rows; r += LANES)
        FG_OVER_OUTPUTS(inputs, FG_THIN_OUTPUTS, FG_BACKWARD(block_full_thin),
                        FG_BACKWARD(block_two_thin), FG_BACKWARD(block_one_thin));
}

#undef FG_BLOCK
#undef FG_OVER_OUTPUTS
#undef FG_FORWARD
#undef FG_BACKWARD
