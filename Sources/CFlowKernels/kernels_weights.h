// The gradient by a dense layer's weights: sums over rows of a gradient times an input, by the same
// blocks as the layer itself. The side that fills the lanes is turned first, so that a row's values
// are neighbours; the other is read a value at a time.

static inline long FN(padded)(long count) { return (count + LANES - 1) / LANES * LANES; }

// turned[r * padded(features) + f] = x[f * stride + r]
static void FN(turn)(long rows, long stride, long features, const REAL *x, REAL *turned) {
    const long width = FN(padded)(features);
    for (long f = 0; f < features; f += LANES)
        for (long r = 0; r < rows; r += LANES)
            FN(transpose_block)(x + f * stride + r, stride, features - f, turned + r * width + f,
                                width);
}

// sums[o * output_step + (r + lane) * lane_step] += acc, as far as there are lanes.
#define FG_ADD(NAME, OUTPUTS, VECTORS)                                                             \
    FG_INLINE void FN(NAME##_add)(long terms, const REAL *left, long left_stride,                  \
                                  const REAL *turned, long width, long lanes, REAL *sums,          \
                                  long output_step, long lane_step) {                              \
        VEC acc[OUTPUTS][VECTORS];                                                                 \
        FG_UNROLL for (int o = 0; o < OUTPUTS; o++)                                                \
            FG_UNROLL for (int v = 0; v < VECTORS; v++) acc[o][v] = (VEC)0;                        \
        FN(NAME)(width, terms, left, left_stride, 1, turned, acc);                                 \
        FG_UNROLL for (int v = 0; v < VECTORS; v++) {                                              \
            if (lane_step == 1 && (v + 1) * LANES <= lanes) {                                      \
                FG_UNROLL for (int o = 0; o < OUTPUTS; o++) {                                      \
                    REAL *sum = sums + o * output_step + v * LANES;                                \
                    FN(store)(sum, FN(load)(sum) + acc[o][v]);                                     \
                }                                                                                  \
            } else {                                                                               \
                REAL values[OUTPUTS][FG_LANE_COUNT];                                               \
                FG_UNROLL for (int o = 0; o < OUTPUTS; o++) FN(store)(values[o], acc[o][v]);       \
                for (long lane = 0; lane < LANES && v * LANES + lane < lanes; lane++)              \
                    FG_UNROLL for (int o = 0; o < OUTPUTS; o++)                                    \
                        sums[o * output_step + (v * LANES + lane) * lane_step] += values[o][lane]; \
            }                                                                                      \
        }                                                                                          \
    }

FG_ADD(full_wide, FG_BLOCK_OUTPUTS, FG_BLOCK_VECTORS)
FG_ADD(full_pair, FG_BLOCK_OUTPUTS, 2)
FG_ADD(full_thin, FG_THIN_OUTPUTS, 1)
FG_ADD(four_wide, 4, FG_BLOCK_VECTORS)
FG_ADD(four_pair, 4, 2)
FG_ADD(four_thin, 4, 1)
FG_ADD(one_wide, 1, FG_BLOCK_VECTORS)
FG_ADD(one_pair, 1, 2)
FG_ADD(one_thin, 1, 1)

// Here the lanes are the "rows" of a block, and the rows of the tile are its terms.
#define FG_SUM(NAME)                                                                               \
    FN(NAME##_add)(terms, left + o * stride, stride, room + r, width, rows - r,                    \
                   gradient + o * output_step + r * lane_step, output_step, lane_step)

static void FN(weight_gradient)(long terms, long stride, long outputs, long inputs,
                                const REAL *dy, const REAL *x, REAL *room, REAL *gradient) {
    // The lanes are filled by the side that leaves fewer of them empty.
    const int by_outputs = FN(padded)(outputs) * inputs < FN(padded)(inputs) * outputs;
    const long rows = by_outputs ? outputs : inputs;
    const long width = FN(padded)(rows);
    const REAL *left = by_outputs ? x : dy;
    if (inputs == 0) return;
    FN(turn)(terms, stride, rows, by_outputs ? dy : x, room);
    if (by_outputs) {
        const long output_step = 1, lane_step = inputs;
        FG_OVER_BLOCKS(inputs, FG_SUM);
    } else {
        const long output_step = inputs, lane_step = 1;
        FG_OVER_BLOCKS(outputs, FG_SUM);
    }
}

// Sums of LANES features at a time: their partial sums are turned, so that all are ended at once. A
// tile's rows are few enough for sums of the scalar itself.
static void FN(row_sums)(long rows, long stride, long features, const REAL *x, REAL *sums) {
    const long whole = rows / LANES * LANES;
    for (long f = 0; f < features; f += LANES) {
        const long held = features - f < LANES ? features - f : LANES;
        REAL partial[FG_LANE_COUNT * FG_LANE_COUNT], turned[FG_LANE_COUNT * FG_LANE_COUNT];
        REAL total[FG_LANE_COUNT];
        for (long lane = 0; lane < held; lane++) {
            const REAL *column = x + (f + lane) * stride;
            VEC sum = 0;
            for (long r = 0; r < whole; r += LANES) sum += FN(load)(column + r);
            FN(store)(partial + lane * LANES, sum);
        }
        FN(transpose_block)(partial, LANES, held, turned, LANES);
        VEC sum = FN(load)(turned);
        FG_UNROLL for (long lane = 1; lane < FG_LANE_COUNT; lane++)
            sum += FN(load)(turned + lane * LANES);
        FN(store)(total, sum);
        for (long lane = 0; lane < held; lane++) {
            for (long r = whole; r < rows; r++) total[lane] += x[(f + lane) * stride + r];
            sums[f + lane] += total[lane];
        }
    }
}

#undef FG_ADD
#undef FG_SUM
