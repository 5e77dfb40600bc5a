// The kernels for any CPU: 128-bit vectors, which every 64-bit target has.

#include "levels.h"

#define FG_VECTOR_BYTES 16
#define FG_BLOCK_OUTPUTS 4
#define FG_BLOCK_VECTORS 2
#define FG_THIN_OUTPUTS 8
#define FG_LEVEL_NAME baseline
#include "kernels_all.h"
