// The hot loops of FlowDensity, for float and double, at several instruction-set levels.
//
// A tile holds its rows in columns: `x[feature * stride + row]`. Kernels that work on a tile may
// touch up to FG_ROW_PADDING - 1 rows past `rows`, so strides are multiples of FG_ROW_PADDING; what
// they leave there is of no meaning, and sums over rows leave it out. Every row is computed with the
// same operations in the same order wherever it stands in a tile, so a row's result does not depend
// on the rows beside it.

#ifndef FLOWGUARD_CFLOWKERNELS_H
#define FLOWGUARD_CFLOWKERNELS_H

#include <stddef.h>

#define FG_ROW_PADDING 16
// Outputs in a panel of packed weights.
#define FG_PANEL 16

#pragma clang assume_nonnull begin

// The levels, lowest first.
#define FG_LEVEL_BASELINE 0
#define FG_LEVEL_AVX2 1
#define FG_LEVEL_AVX512 2

// The highest level that this CPU has.
int fg_highest_level(void);

// The level in use: the highest one, or the lower one that the environment variable
// FLOWGUARD_KERNELS (baseline, avx2, avx512) named when the process began.
int fg_level(void);

#define FG_DECLARE_KERNELS(REAL, SUFFIX)                                                           \
    typedef struct {                                                                               \
        /* y[o] = act(bias[o] + sum_i weights[o * inputs + i] x[i]); act is ReLU or nothing */     \
        void (*dense)(long rows, long stride, long outputs, long inputs, const REAL *weights,      \
                      const REAL *bias, const REAL *x, REAL *y, int relu);                         \
        /* dx[i] = sum_o weights[o * inputs + i] dy[o], and 0 where mask[i] <= 0 if given */       \
        void (*dense_backward)(long rows, long stride, long outputs, long inputs,                  \
                               const REAL *weights, const REAL *dy,                                \
                               const REAL *_Nullable mask, REAL *dx);                              \
        /* weights and biases in the order in which dense_packed reads them: FG_PANEL outputs a   */  \
        /* panel, ceil(outputs / FG_PANEL) panels of FG_PANEL (inputs + 1) scalars                */  \
        void (*pack)(long outputs, long inputs, const REAL *weights, const REAL *bias,             \
                     REAL *panels);                                                                \
        /* what dense gives, from panels */                                                        \
        void (*dense_packed)(long rows, long stride, long outputs, long inputs,                    \
                             const REAL *panels, const REAL *x, REAL *y, int relu);                \
        /* what dense_packed gives of one row, at the rate at which the panels are read: input i   */ \
        /* at x[i * x_step], output o at y[o * y_step]; a step of 1 takes whole panels of y        */ \
        void (*dense_row)(long outputs, long inputs, const REAL *panels, const REAL *x,            \
                          long x_step, REAL *y, long y_step, int relu);                            \
        /* gradient[o * inputs + i] += sum over rows of dy[o] x[i]; `room` for a row of the        */ \
        /* larger side, padded, times `stride`                                                     */ \
        void (*weight_gradient)(long rows, long stride, long outputs, long inputs, const REAL *dy, \
                                const REAL *x, REAL *room, REAL *gradient);                        \
        /* sums[f] += sum over rows of x[f] */                                                     \
        void (*row_sums)(long rows, long stride, long features, const REAL *x, REAL *sums);        \
        /* y = min(max(x, -bound), bound) */                                                       \
        void (*clamp)(long rows, REAL bound, const REAL *x, REAL *y);                              \
        /* clamp of the columns features[0..<count] of x into those of y, one after the other */   \
        void (*clamp_columns)(long rows, long stride, long count, const long *features,            \
                              REAL bound, const REAL *x, REAL *y);                                 \
        /* dx += dy where |y| < bound */                                                           \
        void (*clamp_backward)(long rows, REAL bound, const REAL *y, const REAL *dy, REAL *dx);    \
        /* s = bound tanh(s / bound), scale = exp(s), x = x scale + t, log_det += s */             \
        void (*affine_forward)(long rows, REAL bound, REAL *s, REAL *scale, const REAL *t,         \
                               REAL *x, double *log_det);                                          \
        /* kept = x and affine_forward of the columns features[0..<count] of x, the other columns */ \
        /* one after the other; of a few rows with the features in the lanes                     */ \
        void (*affine_forward_columns)(long rows, long stride, long count, const long *features,   \
                                       REAL bound, REAL *s, REAL *scale, const REAL *t,            \
                                       REAL *kept, REAL *x, double *log_det);                      \
        /* s = bound tanh(s / bound), x = (x - t) exp(-s), log_det -= s */                         \
        void (*affine_inverse)(long rows, REAL bound, REAL *s, const REAL *t, REAL *x,             \
                               double *log_det);                                                   \
        /* with g = dx: dx = g scale, ds = (g x scale + dl) (1 - (s / bound)^2), dt = g */         \
        void (*affine_backward)(long rows, REAL bound, const REAL *s, const REAL *scale,           \
                                const REAL *x, const REAL *dl, REAL *dx, REAL *ds, REAL *dt);      \
        /* x = x scale + shift */                                                                  \
        void (*scale_shift)(long rows, REAL scale, REAL shift, REAL *x);                           \
        /* y += factor x */                                                                        \
        void (*add_scaled)(long rows, REAL factor, const REAL *x, REAL *y);                        \
        /* log_det += value */                                                                     \
        void (*add_constant)(long rows, double value, double *log_det);                            \
        /* sum over rows of x y */                                                                 \
        double (*dot)(long rows, const REAL *x, const REAL *y);                                    \
        /* sum over rows of x */                                                                   \
        double (*sum)(long rows, const REAL *x);                                                   \
        /* log_density[r] += sum over features of -(x^2 + ln 2 pi) / 2 */                          \
        void (*normal_log_density)(long rows, long stride, long features, const REAL *x,           \
                                   double *log_density);                                           \
        /* dx[f] = -row_gradient x[f]: back through normal_log_density */                          \
        void (*normal_backward)(long rows, long stride, long features,                             \
                                const REAL *row_gradient, const REAL *x, REAL *dx);                \
        /* log_density[r] += sum over features of -|x| - 2 log(1 + exp(-|x|)) */                   \
        void (*logistic_log_density)(long rows, long stride, long features, const REAL *x,         \
                                     double *log_density);                                         \
        /* dx[f] = -row_gradient tanh(x[f] / 2): back through logistic_log_density */              \
        void (*logistic_backward)(long rows, long stride, long features,                           \
                                  const REAL *row_gradient, const REAL *x, REAL *dx);              \
        /* a rational-quadratic spline on [-bound, bound] of 3 bins - 1 columns of numbers, */     \
        /* `step` apart, which become what spline_backward reads; dn are columns like them */      \
        void (*spline_forward)(long rows, long bins, REAL bound, long step, REAL *numbers,         \
                               REAL *x, double *log_det);                                          \
        void (*spline_inverse)(long rows, long bins, REAL bound, long step, REAL *numbers,         \
                               REAL *x, double *log_det);                                          \
        void (*spline_backward)(long rows, long bins, REAL bound, long step,                       \
                                const REAL *numbers, const REAL *x, const REAL *dl, REAL *dx,      \
                                REAL *dn);                                                         \
        /* y = max(y + x, 0) */                                                                    \
        void (*add_relu)(long rows, const REAL *x, REAL *y);                                       \
        /* dx += dy where mask > 0 */                                                              \
        void (*add_where_positive)(long rows, const REAL *mask, const REAL *dy, REAL *dx);         \
        /* row-major to tile, zeros in the padding; and back */                                    \
        void (*load_tile)(long rows, long stride, long features, const REAL *table, REAL *x);      \
        void (*store_tile)(long rows, long stride, long features, const REAL *x, REAL *table);     \
        /* y = exp(x), y = tanh(x), for any count */                                               \
        void (*exp)(long count, const REAL *x, REAL *y);                                           \
        void (*tanh)(long count, const REAL *x, REAL *y);                                          \
        /* y = log(x) of normal numbers above 0, y = log(1 + exp(x)), for any count */             \
        void (*log)(long count, const REAL *x, REAL *y);                                           \
        void (*softplus)(long count, const REAL *x, REAL *y);                                      \
        /* sum += addend, for any count */                                                         \
        void (*add)(long count, const REAL *addend, REAL *sum);                                    \
        double (*sum_of_squares)(long count, const REAL *x);                                       \
        /* one step of Adam with decoupled weight decay, and the running average of the weights */ \
        void (*adam)(long count, const fg_adam_step *step, const REAL *gradient, REAL *parameters, \
                     REAL *first, REAL *second, REAL *average);                                    \
    } fg_kernels_##SUFFIX;                                                                         \
    /* The kernels of a level; NULL when this CPU or this build has none. */                       \
    const fg_kernels_##SUFFIX *_Nullable fg_kernels_##SUFFIX##_at(int level);                      \
    /* The kernels of the level in use. */                                                         \
    const fg_kernels_##SUFFIX *fg_kernels_##SUFFIX##_in_use(void);

typedef struct {
    double gradient_scale;
    double first_decay;
    double second_decay;
    double first_correction;   // 1 / (1 - first_decay^t)
    double second_correction;  // 1 / (1 - second_decay^t)
    double learning_rate;
    double weight_decay;
    double epsilon;
    double average_decay;
} fg_adam_step;

FG_DECLARE_KERNELS(float, f32)
FG_DECLARE_KERNELS(double, f64)

#pragma clang assume_nonnull end

#endif
