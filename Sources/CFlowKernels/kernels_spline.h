// The rational-quadratic spline of a coupling law, within [-bound, bound]; the identity outside.
//
// A feature's numbers are 3 bins - 1 columns, `step` scalars apart: raw widths, raw heights, and
// raw slopes at the inner knots. `spline_forward` and `spline_inverse` put in their places the
// widths and heights of the bins and the slopes at the knots, which is what `spline_backward` reads.

#define FG_SPLINE_LEAST_SHARE 1e-3  // of a bin's width and height, in 2 bound
#define FG_SPLINE_LEAST_SLOPE 1e-3
#define FG_SPLINE_SLOPE_SHIFT 0.5397424172369521 // softplus(shift) = 1 - least slope: raw 0 is slope 1

// Raw numbers of `bins` columns to sizes that add up to 2 bound.
static inline __attribute__((always_inline)) void FN(spline_sizes)(
    long bins, REAL bound, long step, REAL *raw) {
    VEC largest = FN(load)(raw);
    for (long k = 1; k < bins; k++)
        largest = __builtin_elementwise_max(largest, FN(load)(raw + k * step));
    VEC sum = 0;
    for (long k = 0; k < bins; k++) {
        VEC value = FN(exp_of)(FN(load)(raw + k * step) - largest);
        FN(store)(raw + k * step, value);
        sum += value;
    }
    const REAL least = 2 * bound * (REAL)FG_SPLINE_LEAST_SHARE;
    VEC factor = (2 * bound - (REAL)bins * least) / sum;
    for (long k = 0; k < bins; k++)
        FN(store)(raw + k * step, FN(load)(raw + k * step) * factor + least);
}

static inline __attribute__((always_inline)) void FN(spline_numbers)(
    long bins, REAL bound, long step, REAL *numbers) {
    FN(spline_sizes)(bins, bound, step, numbers);
    FN(spline_sizes)(bins, bound, step, numbers + bins * step);
    for (long k = 2 * bins; k < 3 * bins - 1; k++)
        FN(store)(numbers + k * step,
                  FN(softplus_of)(FN(load)(numbers + k * step) + (REAL)FG_SPLINE_SLOPE_SHIFT)
                      + (REAL)FG_SPLINE_LEAST_SLOPE);
}

// The bin of each lane: the last one whose lower edge, along x or along z, is not above `value`.
#define SPLINE_BIN FN(spline_bin)
typedef struct {
    VEC index, left, width, bottom, height, slope_left, slope_right;
} SPLINE_BIN;

static inline __attribute__((always_inline)) void FN(spline_find)(
    long bins, REAL bound, long step, const REAL *numbers, VEC value, int along_z,
    SPLINE_BIN *bin) {
    VEC left = (VEC)-bound, bottom = (VEC)-bound, slope_left = (VEC)(REAL)1;
    for (long k = 0; k < bins; k++) {
        VEC width = FN(load)(numbers + k * step);
        VEC height = FN(load)(numbers + (bins + k) * step);
        VEC slope_right = k + 1 < bins ? FN(load)(numbers + (2 * bins + k) * step) : (VEC)(REAL)1;
        IVEC here = k == 0 ? (IVEC)(INT)-1 : value >= (along_z ? bottom : left);
        bin->index = here ? (VEC)(REAL)k : bin->index;
        bin->left = here ? left : bin->left;
        bin->width = here ? width : bin->width;
        bin->bottom = here ? bottom : bin->bottom;
        bin->height = here ? height : bin->height;
        bin->slope_left = here ? slope_left : bin->slope_left;
        bin->slope_right = here ? slope_right : bin->slope_right;
        left += width;
        bottom += height;
        slope_left = slope_right;
    }
}

static inline __attribute__((always_inline)) VEC FN(spline_share)(VEC share) {
    return __builtin_elementwise_min(__builtin_elementwise_max(share, (VEC)0), (VEC)(REAL)1);
}

// log of the slope dz/dx at the share xi of a bin.
static inline __attribute__((always_inline)) VEC FN(spline_log_slope)(
    const SPLINE_BIN *bin, VEC s, VEC xi, VEC bend, VEC denominator) {
    VEC rest = (REAL)1 - xi;
    VEC g = bin->slope_right * xi * xi + (REAL)2 * s * bend + bin->slope_left * rest * rest;
    VEC ratio = s / denominator;
    return FN(log_of)(ratio * ratio * g);
}

static void FN(spline_forward)(long rows, long bins, REAL bound, long step, REAL *numbers, REAL *x,
                               double *log_det) {
    FG_OVER_ROWS {
        VEC value = FN(load)(x + r);
        SPLINE_BIN bin = {0};
        FN(spline_numbers)(bins, bound, step, numbers + r);
        FN(spline_find)(bins, bound, step, numbers + r, value, 0, &bin);
        VEC s = bin.height / bin.width;
        VEC xi = FN(spline_share)((value - bin.left) / bin.width);
        VEC bend = xi * ((REAL)1 - xi);
        VEC denominator = s + (bin.slope_right + bin.slope_left - (s + s)) * bend;
        VEC z = bin.bottom + bin.height * (s * xi * xi + bin.slope_left * bend) / denominator;
        VEC log_slope = FN(spline_log_slope)(&bin, s, xi, bend, denominator);
        IVEC inside = __builtin_elementwise_abs(value) < (VEC)bound;
        FN(store)(x + r, inside ? z : value);
        FG_STORE_DOUBLES(log_det + r, FG_LOAD_DOUBLES(log_det + r)
            + __builtin_convertvector(inside ? log_slope : (VEC)0, DVEC));
    }
}

static void FN(spline_inverse)(long rows, long bins, REAL bound, long step, REAL *numbers, REAL *x,
                               double *log_det) {
    FG_OVER_ROWS {
        VEC value = FN(load)(x + r);
        SPLINE_BIN bin = {0};
        FN(spline_numbers)(bins, bound, step, numbers + r);
        FN(spline_find)(bins, bound, step, numbers + r, value, 1, &bin);
        VEC s = bin.height / bin.width;
        VEC above = __builtin_elementwise_min(
            __builtin_elementwise_max(value - bin.bottom, (VEC)0), bin.height);
        // The share xi solves a xi^2 + b xi + c = 0. Of the root's two forms that one which does not
        // cancel; where b < 0, a is positive.
        VEC excess = bin.slope_right + bin.slope_left - (s + s);
        VEC a = bin.height * (s - bin.slope_left) + above * excess;
        VEC b = bin.height * bin.slope_left - above * excess;
        VEC c = -s * above;
        VEC root = __builtin_elementwise_sqrt(
            __builtin_elementwise_max(b * b - (REAL)4 * a * c, (VEC)0));
        IVEC falls = b < (VEC)0;
        VEC xi = FN(spline_share)((falls ? root - b : c + c) / (falls ? a + a : -b - root));
        VEC bend = xi * ((REAL)1 - xi);
        VEC log_slope = FN(spline_log_slope)(&bin, s, xi, bend, s + excess * bend);
        IVEC inside = __builtin_elementwise_abs(value) < (VEC)bound;
        FN(store)(x + r, inside ? xi * bin.width + bin.left : value);
        FG_STORE_DOUBLES(log_det + r, FG_LOAD_DOUBLES(log_det + r)
            - __builtin_convertvector(inside ? log_slope : (VEC)0, DVEC));
    }
}

// Gradients by the bins' sizes, below and in the bin of each lane, to those by the raw numbers.
static inline __attribute__((always_inline)) void FN(spline_sizes_backward)(
    long bins, REAL bound, long step, const REAL *sizes, VEC index, VEC below, VEC own,
    REAL *raw_gradient) {
    const REAL least = 2 * bound * (REAL)FG_SPLINE_LEAST_SHARE;
    const REAL factor = 2 * bound - (REAL)bins * least;
    VEC mean = 0;
    for (long k = 0; k < bins; k++) {
        VEC place = (VEC)(REAL)k;
        VEC gradient = place < index ? below : (place == index ? own : (VEC)0);
        mean += gradient * (FN(load)(sizes + k * step) - least) / factor;
        FN(store)(raw_gradient + k * step, gradient);
    }
    for (long k = 0; k < bins; k++)
        FN(store)(raw_gradient + k * step, (FN(load)(raw_gradient + k * step) - mean)
                                               * (FN(load)(sizes + k * step) - least));
}

static void FN(spline_backward)(long rows, long bins, REAL bound, long step, const REAL *numbers,
                                const REAL *x, const REAL *dl, REAL *dx, REAL *dn) {
    FG_OVER_ROWS {
        VEC value = FN(load)(x + r);
        SPLINE_BIN bin = {0};
        FN(spline_find)(bins, bound, step, numbers + r, value, 0, &bin);
        IVEC inside = __builtin_elementwise_abs(value) < (VEC)bound;
        VEC outer = FN(load)(dx + r);
        VEC dz = inside ? outer : (VEC)0;
        VEC dlog = inside ? FN(load)(dl + r) : (VEC)0;
        VEC s = bin.height / bin.width;
        VEC xi = FN(spline_share)((value - bin.left) / bin.width);
        VEC rest = (REAL)1 - xi;
        VEC bend = xi * rest;
        VEC turn = rest - xi;  // the slope of bend
        VEC excess = bin.slope_right + bin.slope_left - (s + s);
        VEC numerator = s * xi * xi + bin.slope_left * bend;
        VEC denominator = s + excess * bend;
        VEC g = bin.slope_right * xi * xi + (REAL)2 * s * bend + bin.slope_left * rest * rest;
        VEC by_height = bin.height / (denominator * denominator);
        VEC straight = (REAL)1 - (bend + bend);  // the denominator's slope by s

        VEC z_xi = by_height * s * g;
        VEC log_xi = (REAL)2 * ((bin.slope_right * xi + s * turn - bin.slope_left * rest) / g
                                - excess * turn / denominator);
        VEC z_s = by_height * (xi * xi * denominator - numerator * straight);
        VEC log_s = (REAL)2 * ((REAL)1 / s + bend / g - straight / denominator);
        VEC z_left = by_height * bend * (denominator - numerator);
        VEC log_left = rest * rest / g - (REAL)2 * bend / denominator;
        VEC z_right = -by_height * bend * numerator;
        VEC log_right = xi * xi / g - (REAL)2 * bend / denominator;

        VEC d_xi = dz * z_xi + dlog * log_xi;
        VEC d_s = dz * z_s + dlog * log_s;
        VEC d_left = dz * z_left + dlog * log_left;
        VEC d_right = dz * z_right + dlog * log_right;
        VEC d_value = d_xi / bin.width;
        VEC d_width = -(xi * d_xi + s * d_s) / bin.width;
        VEC d_height = dz * numerator / denominator + d_s / bin.width;

        FN(store)(dx + r, inside ? d_value : outer);
        REAL *gradient = dn + r;
        FN(spline_sizes_backward)(bins, bound, step, numbers + r, bin.index, -d_value, d_width,
                                  gradient);
        FN(spline_sizes_backward)(bins, bound, step, numbers + r + bins * step, bin.index, dz,
                                  d_height, gradient + bins * step);
        for (long k = 0; k + 1 < bins; k++) {
            // The inner knot k is the right one of bin k and the left one of bin k + 1.
            const long place = (2 * bins + k) * step;
            VEC knot = bin.index == (VEC)(REAL)k         ? d_right
                : bin.index == (VEC)(REAL)(k + 1) ? d_left : (VEC)0;
            VEC slope = FN(load)(numbers + r + place) - (REAL)FG_SPLINE_LEAST_SLOPE;
            FN(store)(gradient + place, knot * ((REAL)1 - FN(exp_of)(-slope)));
        }
    }
}

#undef SPLINE_BIN
#undef FG_SPLINE_LEAST_SHARE
#undef FG_SPLINE_LEAST_SLOPE
#undef FG_SPLINE_SLOPE_SHIFT
