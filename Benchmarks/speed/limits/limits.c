#include "CSpeedLimits.h"

#include <cblas.h>

#define ACCUMULATORS 12
#define STEPS 64

// Each round: STEPS dependent multiply-adds on each of ACCUMULATORS registers, enough of them to hide
// the latency of the operation. The barrier keeps the values in registers.
#define DEFINE_ROUNDS(NAME, TARGET, LANES)                                                         \
    typedef float NAME##_vector __attribute__((ext_vector_type(LANES)));                           \
    TARGET static double NAME(long rounds, float *sink) {                                          \
        NAME##_vector sum[ACCUMULATORS], factor = 0.999999f, addend = 1e-6f;                       \
        for (int i = 0; i < ACCUMULATORS; i++) sum[i] = (float)i;                                  \
        for (long round = 0; round < rounds; round++)                                              \
            for (int step = 0; step < STEPS; step++) {                                             \
                _Pragma("clang loop unroll(full)") for (int i = 0; i < ACCUMULATORS; i++) {        \
                    sum[i] = sum[i] * factor + addend;                                             \
                    __asm__("" : "+v"(sum[i]));                                                    \
                }                                                                                  \
            }                                                                                      \
        for (int i = 0; i < ACCUMULATORS; i++) *sink += sum[i][0];                                 \
        return 2.0 * LANES * ACCUMULATORS * STEPS * (double)rounds;                                \
    }

#if defined(__x86_64__)
DEFINE_ROUNDS(rounds_avx512, __attribute__((target("avx512f"))), 16)
DEFINE_ROUNDS(rounds_avx2, __attribute__((target("avx2,fma"))), 8)
#endif

static double rounds_baseline(long rounds, float *sink) {
    float sum[ACCUMULATORS * 4];
    for (int i = 0; i < ACCUMULATORS * 4; i++) sum[i] = (float)i;
    for (long round = 0; round < rounds; round++)
        for (int step = 0; step < STEPS; step++)
            for (int i = 0; i < ACCUMULATORS * 4; i++) sum[i] = sum[i] * 0.999999f + 1e-6f;
    for (int i = 0; i < ACCUMULATORS * 4; i++) *sink += sum[i];
    return 2.0 * ACCUMULATORS * 4 * STEPS * (double)rounds;
}

const char *fg_fma_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return "avx512";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
#endif
    return "baseline";
}

double fg_fma_rounds(long rounds, float *sink) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return rounds_avx512(rounds, sink);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return rounds_avx2(rounds, sink);
#endif
    return rounds_baseline(rounds, sink);
}

void fg_gemm_forward(int rows, int columns, int terms, const float *a, const float *b, float *c) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, columns, terms, 1, a, terms, b,
                terms, 0, c, columns);
}

void fg_gemm_input(int rows, int columns, int terms, const float *a, const float *b, float *c) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, columns, terms, 1, a, terms, b,
                columns, 0, c, columns);
}

void fg_gemm_weights(int rows, int columns, int terms, const float *a, const float *b, float *c) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, rows, columns, terms, 1, a, rows, b,
                columns, 0, c, columns);
}
