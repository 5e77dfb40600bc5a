// The kernels for CPUs with avx2,fma.

#include "levels.h"

#if FG_HAS_X86_LEVELS

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)

#define FG_VECTOR_BYTES 32
#define FG_BLOCK_OUTPUTS 4
#define FG_BLOCK_VECTORS 2
#define FG_THIN_OUTPUTS 8
#define FG_LEVEL_NAME avx2
#include "kernels_all.h"

#pragma clang attribute pop

#endif
