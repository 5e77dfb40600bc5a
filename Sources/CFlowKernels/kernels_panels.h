// The dense layer from panels: its weights, put in the order in which they are read. A panel holds
// FG_PANEL outputs, zeros in the place of those past the last: their biases, then for each input
// their weights. Tiles read it one stream a block; one row alone takes its outputs as lanes, at the
// rate at which weights come out of the caches. The sums run in the same order both times, so a
// row's bits are the same.

#define FG_PANEL_SIZE(INPUTS) (FG_PANEL * ((INPUTS) + 1))
// Vectors of a panel, and panels whose sums hide the latency of an addition.
#define FG_PANEL_VECTORS (FG_PANEL / FG_LANE_COUNT)
#define FG_ROW_PANELS (FG_PANEL_VECTORS < 8 ? 8 / FG_PANEL_VECTORS : 1)

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

// Whole panels of outputs for one row.
#define FG_ROW(NAME, PANELS)                                                                       \
    FG_INLINE void FN(NAME)(long inputs, const REAL *restrict panels, const REAL *restrict x,      \
                            long x_step, REAL *restrict y, int relu) {                             \
        const long size = FG_PANEL_SIZE(inputs);                                                   \
        VEC acc[PANELS][FG_PANEL_VECTORS];                                                         \
        FG_UNROLL for (int p = 0; p < PANELS; p++)                                                 \
            FG_UNROLL for (int v = 0; v < FG_PANEL_VECTORS; v++)                                   \
                acc[p][v] = FN(load)(panels + p * size + v * LANES);                               \
        for (long i = 0; i < inputs; i++) {                                                        \
            VEC term = (VEC)x[i * x_step];                                                         \
            FG_UNROLL for (int p = 0; p < PANELS; p++)                                             \
                FG_UNROLL for (int v = 0; v < FG_PANEL_VECTORS; v++)                               \
                    acc[p][v] += FN(load)(panels + p * size + (i + 1) * FG_PANEL + v * LANES)      \
                        * term;                                                                    \
        }                                                                                          \
        FG_UNROLL for (int p = 0; p < PANELS; p++)                                                 \
            FG_UNROLL for (int v = 0; v < FG_PANEL_VECTORS; v++) {                                 \
                VEC value = acc[p][v];                                                             \
                if (relu) value = __builtin_elementwise_max(value, (VEC)0);                        \
                FN(store)(y + p * FG_PANEL + v * LANES, value);                                    \
            }                                                                                      \
    }

FG_ROW(row_1, 1)
FG_ROW(row_2, 2)
FG_ROW(row_3, 3)
FG_ROW(row_4, 4)
FG_ROW(row_5, 5)
FG_ROW(row_6, 6)
FG_ROW(row_7, 7)
FG_ROW(row_8, 8)

// The cases beyond FG_ROW_PANELS are never compiled.
#define FG_ROW_CASE(PANELS)                                                                        \
    case PANELS: FN(row_##PANELS)(inputs, panels, x, x_step, to, relu); break

static void FN(dense_row)(long outputs, long inputs, const REAL *panels, const REAL *x, long x_step,
                          REAL *y, long y_step, int relu) {
    const long most = FG_ROW_PANELS * FG_PANEL;
    REAL room[FG_ROW_PANELS * FG_PANEL];
    for (long o = 0; o < outputs; o += most) {
        const long left = outputs - o < most ? outputs - o : most;
        REAL *to = y_step == 1 ? y + o : room;
        switch ((left + FG_PANEL - 1) / FG_PANEL) {
            FG_ROW_CASE(1);
            FG_ROW_CASE(2);
            FG_ROW_CASE(3);
            FG_ROW_CASE(4);
            FG_ROW_CASE(5);
            FG_ROW_CASE(6);
            FG_ROW_CASE(7);
            FG_ROW_CASE(8);
        }
        if (y_step != 1)
            for (long i = 0; i < left; i++) y[(o + i) * y_step] = room[i];
        panels += FG_ROW_PANELS * FG_PANEL_SIZE(inputs);
    }
}

#define FG_FORWARD(NAME)                                                                           \
    do {                                                                                           \
        const REAL *panel = panels + o / FG_PANEL * FG_PANEL_SIZE(inputs) + o % FG_PANEL;          \
        FN(NAME##_forward)(stride, inputs, panel + FG_PANEL, 1, FG_PANEL, panel, x + r,            \
                           y + o * stride + r, relu);                                              \
    } while (0)

static void FN(dense_packed)(long rows, long stride, long outputs, long inputs,
                             const REAL *panels, const REAL *x, REAL *y, int relu) {
    FG_OVER_BLOCKS(outputs, FG_FORWARD);
}

#undef FG_FORWARD
#undef FG_ROW_CASE
#undef FG_ROW
#undef FG_PANEL_SIZE
#undef FG_PANEL_VECTORS
#undef FG_ROW_PANELS
