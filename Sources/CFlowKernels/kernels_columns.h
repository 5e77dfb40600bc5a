// What a coupling layer does to all its columns, in one call a tile: at a few rows the calls would
// cost more than the arithmetic.

static void FN(clamp_columns)(long rows, long stride, long count, const long *features, REAL bound,
                              const REAL *x, REAL *y) {
    for (long f = 0; f < count; f++)
        FN(clamp)(rows, bound, x + features[f] * stride, y + f * stride);
}

// A few rows: the features fill the lanes.
static void FN(affine_forward_rows)(long rows, long stride, long count, const long *features,
                                    REAL bound, REAL *s, REAL *scale, const REAL *t, REAL *kept,
                                    REAL *x, double *log_det) {
    const REAL inverse = 1 / bound;
    for (long r = 0; r < rows; r++) {
        double sum = log_det[r];
        for (long f = 0; f < count; f += LANES) {
            const long held = count - f < LANES ? count - f : LANES;
            REAL raw[LANES], shift[LANES], from[LANES];
            for (long lane = 0; lane < LANES; lane++) {
                const long g = lane < held ? f + lane : f;
                raw[lane] = s[g * stride + r];
                shift[lane] = t[g * stride + r];
                from[lane] = x[features[g] * stride + r];
            }
            VEC log_scale = bound * FN(tanh_of)(FN(load)(raw) * inverse);
            VEC factor = FN(exp_of)(log_scale);
            VEC mapped = FN(load)(from) * factor + FN(load)(shift);
            for (long lane = 0; lane < held; lane++) {
                const long g = f + lane;
                s[g * stride + r] = log_scale[lane];
                scale[g * stride + r] = factor[lane];
                kept[g * stride + r] = from[lane];
                x[features[g] * stride + r] = mapped[lane];
                sum += (double)log_scale[lane];
            }
        }
        log_det[r] = sum;
    }
}

static void FN(affine_forward_columns)(long rows, long stride, long count, const long *features,
                                       REAL bound, REAL *s, REAL *scale, const REAL *t, REAL *kept,
                                       REAL *x, double *log_det) {
    if (rows < LANES / 2) {
        FN(affine_forward_rows)(rows, stride, count, features, bound, s, scale, t, kept, x,
                                log_det);
        return;
    }
    for (long f = 0; f < count; f++) {
        REAL *column = x + features[f] * stride;
        FG_OVER_ROWS FN(store)(kept + f * stride + r, FN(load)(column + r));
        FN(affine_forward)(rows, bound, s + f * stride, scale + f * stride, t + f * stride, column,
                           log_det);
    }
}
