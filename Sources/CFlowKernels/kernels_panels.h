// The dense layer from panels: its weights, put in the order in which they are read. A panel holds
// FG_PANEL outputs, zeros in the place of those past the last: their biases, then for each input
// their weights. Tiles read it one stream a block; one row alone takes its outputs as lanes, at the
// rate at which weights come out of the caches. The sums run in the same order both times, so a
// row's bits are the same.

#define FG_PANEL_SIZE(INPUTS) (FG_PANEL * ((INPUTS) + 1))
// Vectors of a panel, and panels whose sums hide the latency of an addition.
#define FG_PANEL_VECTORS (FG_PANEL / FG_LANE_COUNT)
#define FG_ROW_PANELS (FG_PANEL_VECTORS < 8 ? 8 / FG_PANEL_VECTORS : 1)
// So many rows are faster one by one.
#define FG_SINGLE_ROWS 4

static void FN(pack)(long outputs, long inputs, const REAL *weights, const REAL *bias,
                     REAL *panels) {
    for (long first = 0; first < outputs; first += FG_PANEL) {
        const long held = outputs - first < FG_PANEL ? outputs - first : FG_PANEL;
        for (long o = 0; o < FG_PANEL; o++) panels[o] = o < held ? bias[first + o] : 0;
        panels += FG_PANEL;
        const REAL *from = weights + first * inputs;
        long i = 0;
        if (held == FG_PANEL)
            for (; i + LANES <= inputs; i += LANES)
                for (long o = 0; o < FG_PANEL; o += LANES)
                    FN(transpose_block)(from + o * inputs + i, inputs, LANES,
                                        panels + i * FG_PANEL + o, FG_PANEL);
        for (; i < inputs; i++)
            for (long o = 0; o < FG_PANEL; o++)
                panels[i * FG_PANEL + o] = o < held ? from[o * inputs + i] : 0;
        panels += FG_PANEL * inputs;
    }
}

// Some panels for one row, whose inputs and outputs stand `stride` apart.
#define FG_ROW(NAME, PANELS)                                                                       \
    FG_INLINE void FN(NAME)(long stride, long outputs, long inputs, const REAL *restrict panels,   \
                            const REAL *restrict x, REAL *restrict y, int relu) {                  \
        const long size = FG_PANEL_SIZE(inputs);                                                   \
        VEC acc[PANELS][FG_PANEL_VECTORS];                                                         \
        FG_UNROLL for (int p = 0; p < PANELS; p++)                                                 \
            FG_UNROLL for (int v = 0; v < FG_PANEL_VECTORS; v++)                                   \
                acc[p][v] = FN(load)(panels + p * size + v * LANES);                               \
        for (long i = 0; i < inputs; i++) {                                                        \
            VEC term = (VEC)x[i * stride];                                                         \
            FG_UNROLL for (int p = 0; p < PANELS; p++)                                             \
                FG_UNROLL for (int v = 0; v < FG_PANEL_VECTORS; v++)                               \
                    acc[p][v] += FN(load)(panels + p * size + (i + 1) * FG_PANEL + v * LANES)      \
                        * term;                                                                    \
        }                                                                                          \
        FG_UNROLL for (int p = 0; p < PANELS; p++)                                                 \
            FG_UNROLL for (int v = 0; v < FG_PANEL_VECTORS; v++) {                                 \
                VEC value = acc[p][v];                                                             \
                if (relu) value = __builtin_elementwise_max(value, (VEC)0);                        \
                const long first = p * FG_PANEL + v * LANES;                                       \
                for (long lane = 0; lane < LANES && first + lane < outputs; lane++)                \
                    y[(first + lane) * stride] = value[lane];                                      \
            }                                                                                      \
    }

FG_ROW(row_full, FG_ROW_PANELS)
FG_ROW(row_two, 2)
FG_ROW(row_one, 1)

static void FN(dense_row)(long stride, long outputs, long inputs, const REAL *panels,
                          const REAL *x, REAL *y, int relu) {
    const long size = FG_PANEL_SIZE(inputs);
    long o = 0;
    // As far as the panels go, not as the outputs: the last panel's zeros cost nothing extra.
    for (; o + (FG_ROW_PANELS - 1) * FG_PANEL < outputs; o += FG_ROW_PANELS * FG_PANEL)
        FN(row_full)(stride, outputs - o, inputs, panels + o / FG_PANEL * size, x,
                     y + o * stride, relu);
    for (; o + FG_PANEL < outputs; o += 2 * FG_PANEL)
        FN(row_two)(stride, outputs - o, inputs, panels + o / FG_PANEL * size, x, y + o * stride,
                    relu);
    if (o < outputs)
        FN(row_one)(stride, outputs - o, inputs, panels + o / FG_PANEL * size, x, y + o * stride,
                    relu);
}

#define FG_FORWARD(NAME)                                                                           \
    do {                                                                                           \
        const REAL *panel = panels + o / FG_PANEL * FG_PANEL_SIZE(inputs) + o % FG_PANEL;          \
        FN(NAME##_forward)(stride, inputs, panel + FG_PANEL, 1, FG_PANEL, panel, x + r,            \
                           y + o * stride + r, relu);                                              \
    } while (0)

static void FN(dense_packed)(long rows, long stride, long outputs, long inputs,
                             const REAL *panels, const REAL *x, REAL *y, int relu) {
    if (rows <= FG_SINGLE_ROWS) {
        for (long r = 0; r < rows; r++)
            FN(dense_row)(stride, outputs, inputs, panels, x + r, y + r, relu);
        return;
    }
    FG_OVER_BLOCKS(outputs, FG_FORWARD);
}

#undef FG_FORWARD
#undef FG_ROW
#undef FG_PANEL_SIZE
#undef FG_PANEL_VECTORS
#undef FG_ROW_PANELS
#undef FG_SINGLE_ROWS
