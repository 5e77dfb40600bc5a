// One level's kernels, for both scalars. Included once by each level_*.c.

#define FG_JOIN_(A, B, C, D) A##B##C##D
#define FG_JOIN(A, B, C, D) FG_JOIN_(A, B, C, D)

#include <string.h>

#define FG_IS_DOUBLE 0
#include "kernels_elementwise.h"
#include "kernels_columns.h"
#include "kernels_logistic.h"
#include "kernels_spline.h"
#include "kernels_dense.h"
#include "kernels_transpose.h"
#include "kernels_panels.h"
#include "kernels_weights.h"
#include "kernels_table.h"
#undef FG_IS_DOUBLE

#define FG_IS_DOUBLE 1
#include "kernels_elementwise.h"
#include "kernels_columns.h"
#include "kernels_logistic.h"
#include "kernels_spline.h"
#include "kernels_dense.h"
#include "kernels_transpose.h"
#include "kernels_panels.h"
#include "kernels_weights.h"
#include "kernels_table.h"
#undef FG_IS_DOUBLE
