// The dense layer on tiles: a block of outputs times some vectors of rows stays in registers
// while the inputs run by. Weights are read in place, a few sequential streams a block, or from
// panels (kernels_panels.h), one stream; the caches keep them for all blocks of rows of the tile.

#define FG_UNROLL _Pragma("clang loop unroll(full)")
#define FG_INLINE static inline __attribute__((always_inline))

// acc[o][v] over `count` terms: weight (o, k) is weights[o * output_step + k * term_step].
// What follows it begins or ends with such a block.
#define FG_BLOCK(NAME, OUTPUTS, VECTORS)                                                           \
    FG_INLINE void FN(NAME)(long stride, long count, const REAL *restrict weights,                 \
                            long output_step, long term_step, const REAL *restrict x,              \
                            VEC acc[OUTPUTS][VECTORS]) {                                           \
        for (long k = 0; k < count; k++) {                                                         \
            VEC terms[VECTORS];                                                                    \
            FG_UNROLL for (int v = 0; v < VECTORS; v++)                                            \
                terms[v] = FN(load)(x + k * stride + v * LANES);                                   \
            FG_UNROLL for (int o = 0; o < OUTPUTS; o++) {                                          \
                VEC weight = (VEC)weights[o * output_step + k * term_step];                        \
                FG_UNROLL for (int v = 0; v < VECTORS; v++) acc[o][v] += weight * terms[v];        \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    FG_INLINE void FN(NAME##_forward)(long stride, long inputs, const REAL *weights,               \
                                      long output_step, long term_step, const REAL *bias,          \
                                      const REAL *x, REAL *y, int relu) {                          \
        VEC acc[OUTPUTS][VECTORS];                                                                 \
        FG_UNROLL for (int o = 0; o < OUTPUTS; o++)                                                \
            FG_UNROLL for (int v = 0; v < VECTORS; v++) acc[o][v] = (VEC)bias[o];                  \
        FN(NAME)(stride, inputs, weights, output_step, term_step, x, acc);                         \
        FG_UNROLL for (int o = 0; o < OUTPUTS; o++)                                                \
            FG_UNROLL for (int v = 0; v < VECTORS; v++) {                                          \
                VEC value = acc[o][v];                                                             \
                if (relu) value = __builtin_elementwise_max(value, (VEC)0);                        \
                FN(store)(y + o * stride + v * LANES, value);                                      \
            }                                                                                      \
    }                                                                                              \
    FG_INLINE void FN(NAME##_backward)(long stride, long outputs, long inputs,                     \
                                       const REAL *weights, const REAL *dy, const REAL *mask,      \
                                       REAL *dx) {                                                 \
        VEC acc[OUTPUTS][VECTORS];                                                                 \
        FG_UNROLL for (int o = 0; o < OUTPUTS; o++)                                                \
            FG_UNROLL for (int v = 0; v < VECTORS; v++) acc[o][v] = (VEC)0;                        \
        FN(NAME)(stride, outputs, weights, 1, inputs, dy, acc);                                    \
        FG_UNROLL for (int o = 0; o < OUTPUTS; o++)                                                \
            FG_UNROLL for (int v = 0; v < VECTORS; v++) {                                          \
                VEC value = acc[o][v];                                                             \
                if (mask)                                                                          \
                    value = FN(load)(mask + o * stride + v * LANES) > (VEC)0 ? value : (VEC)0;     \
                FN(store)(dx + o * stride + v * LANES, value);                                     \
            }                                                                                      \
    }

FG_BLOCK(full_wide, FG_BLOCK_OUTPUTS, FG_BLOCK_VECTORS)
FG_BLOCK(full_pair, FG_BLOCK_OUTPUTS, 2)
FG_BLOCK(full_thin, FG_THIN_OUTPUTS, 1)
FG_BLOCK(four_wide, 4, FG_BLOCK_VECTORS)
FG_BLOCK(four_pair, 4, 2)
FG_BLOCK(four_thin, 4, 1)
FG_BLOCK(one_wide, 1, FG_BLOCK_VECTORS)
FG_BLOCK(one_pair, 1, 2)
FG_BLOCK(one_thin, 1, 1)

// Runs STEP with the largest blocks of outputs that fit, as `o` runs over COUNT outputs.
#define FG_OVER_OUTPUTS(COUNT, SIDE, STEP, WIDTH)                                                  \
    do {                                                                                           \
        long o = 0;                                                                                \
        for (; o + (SIDE) <= (COUNT); o += (SIDE)) STEP(full_##WIDTH);                             \
        for (; o + 4 <= (COUNT); o += 4) STEP(four_##WIDTH);                                       \
        for (; o < (COUNT); o++) STEP(one_##WIDTH);                                                \
    } while (0)

// The same for each block of rows, as `r` runs over `rows`, up to LANES - 1 of them too many.
#define FG_OVER_BLOCKS(COUNT, STEP)                                                                \
    do {                                                                                           \
        long r = 0;                                                                                \
        for (; r + (FG_BLOCK_VECTORS - 1) * LANES < rows; r += FG_BLOCK_VECTORS * LANES)           \
            FG_OVER_OUTPUTS(COUNT, FG_BLOCK_OUTPUTS, STEP, wide);                                  \
        for (; r + LANES < rows; r += 2 * LANES)                                                   \
            FG_OVER_OUTPUTS(COUNT, FG_BLOCK_OUTPUTS, STEP, pair);                                  \
        for (; r < rows; r += LANES) FG_OVER_OUTPUTS(COUNT, FG_THIN_OUTPUTS, STEP, thin);          \
    } while (0)

#define FG_FORWARD(NAME)                                                                           \
    FN(NAME##_forward)(stride, inputs, weights + o * inputs, inputs, 1, bias + o, x + r,           \
                       y + o * stride + r, relu)

static void FN(dense)(long rows, long stride, long outputs, long inputs, const REAL *weights,
                      const REAL *bias, const REAL *x, REAL *y, int relu) {
    FG_OVER_BLOCKS(outputs, FG_FORWARD);
}

#define FG_BACKWARD(NAME)                                                                          \
    FN(NAME##_backward)(stride, outputs, inputs, weights + o, dy + r,                              \
                        mask ? mask + o * stride + r : NULL, dx + o * stride + r)

static void FN(dense_backward)(long rows, long stride, long outputs, long inputs,
                               const REAL *weights, const REAL *dy, const REAL *mask, REAL *dx) {
    FG_OVER_BLOCKS(inputs, FG_BACKWARD);
}

#undef FG_BLOCK
#undef FG_FORWARD
#undef FG_BACKWARD
