// Which level's kernels are used: chosen once, when the process begins. No ifunc: a resolver that
// runs before the sanitizers' runtime ends every ThreadSanitizer binary.

#include "levels.h"

#include <stdlib.h>
#include <string.h>

static int level_in_use = FG_LEVEL_BASELINE;

int fg_highest_level(void) {
#if FG_HAS_X86_LEVELS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return FG_LEVEL_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return FG_LEVEL_AVX2;
#endif
    return FG_LEVEL_BASELINE;
}

__attribute__((constructor)) static void choose_level(void) {
    level_in_use = fg_highest_level();
    const char *asked = getenv("FLOWGUARD_KERNELS");
    if (asked == NULL) return;
    if (strcmp(asked, "baseline") == 0) level_in_use = FG_LEVEL_BASELINE;
    if (strcmp(asked, "avx2") == 0 && level_in_use > FG_LEVEL_AVX2) level_in_use = FG_LEVEL_AVX2;
}

int fg_level(void) { return level_in_use; }

#if FG_HAS_X86_LEVELS
#define FG_TABLES(SUFFIX)                                                                          \
    static const fg_kernels_##SUFFIX *const tables_##SUFFIX[3] = {                                 \
        &fg_baseline_##SUFFIX, &fg_avx2_##SUFFIX, &fg_avx512_##SUFFIX};
#else
#define FG_TABLES(SUFFIX)                                                                          \
    static const fg_kernels_##SUFFIX *const tables_##SUFFIX[3] = {&fg_baseline_##SUFFIX};
#endif

#define FG_DEFINE_LOOKUP(SUFFIX)                                                                   \
    FG_TABLES(SUFFIX)                                                                              \
    const fg_kernels_##SUFFIX *_Nullable fg_kernels_##SUFFIX##_at(int level) {                     \
        return level >= 0 && level <= fg_highest_level() ? tables_##SUFFIX[level] : NULL;          \
    }                                                                                              \
    const fg_kernels_##SUFFIX *fg_kernels_##SUFFIX##_in_use(void) {                                \
        return tables_##SUFFIX[level_in_use];                                                      \
    }

FG_DEFINE_LOOKUP(f32)
FG_DEFINE_LOOKUP(f64)
