// The kernels for CPUs with avx512f,avx512bw,avx512dq,avx512vl,avx2,fma.

#include "levels.h"

#if FG_HAS_X86_LEVELS

// Features by name: "arch=x86-64-v4" would split 512-bit vectors in two.
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)

#define FG_VECTOR_BYTES 64
#define FG_BLOCK_OUTPUTS 8
#define FG_BLOCK_VECTORS 3
#define FG_THIN_OUTPUTS 16
#define FG_LEVEL_NAME avx512
#include "kernels_all.h"

#pragma clang attribute pop

#endif
