// The kernel tables of each level, defined by the level_*.c files.

#ifndef FLOWGUARD_LEVELS_H
#define FLOWGUARD_LEVELS_H

#include "CFlowKernels.h"

#if defined(__x86_64__)
#define FG_HAS_X86_LEVELS 1
#else
#define FG_HAS_X86_LEVELS 0
#endif

extern const fg_kernels_f32 fg_baseline_f32, fg_avx2_f32, fg_avx512_f32;
extern const fg_kernels_f64 fg_baseline_f64, fg_avx2_f64, fg_avx512_f64;

#endif
