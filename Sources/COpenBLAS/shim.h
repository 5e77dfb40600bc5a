#ifndef FLOWGUARD_COPENBLAS_H
#define FLOWGUARD_COPENBLAS_H

#include <cblas.h>
#include <stdlib.h>
#include <string.h>

// Exported by the library, in no header of it; weak, so that a build without them still links.
extern void gotoblas_dynamic_init(void) __attribute__((weak));
extern void gotoblas_dynamic_quit(void) __attribute__((weak));

// The core whose kernels an OpenBLAS that takes this CPU for an old one should use, or NULL.
static inline const char *fg_blas_better_core(const char *core) {
#if defined(__x86_64__)
    if (strcmp(core, "Prescott") != 0 && strcmp(core, "Core2") != 0 && strcmp(core, "Nehalem") != 0
        && strcmp(core, "Generic") != 0)
        return NULL;
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return "Haswell";
#else
    (void)core;
#endif
    return NULL;
}

// Debian 12's OpenBLAS does not know CPUs newer than itself and falls back to SSE3 kernels, a
// fifth of the speed. Where that happened, and the user chose no core, the choice is made again.
// To be called once, before any other call into the library.
static inline const char *fg_blas_prepare(void) {
    openblas_set_num_threads(1);
    const char *better = fg_blas_better_core(openblas_get_corename());
    if (better && !getenv("OPENBLAS_CORETYPE") && gotoblas_dynamic_init && gotoblas_dynamic_quit) {
        setenv("OPENBLAS_CORETYPE", better, 1);
        gotoblas_dynamic_quit();
        gotoblas_dynamic_init();
        unsetenv("OPENBLAS_CORETYPE");
        openblas_set_num_threads(1);
    }
    return openblas_get_corename();
}

static inline int fg_cpu_has_avx2(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 0;
#endif
}

#endif
