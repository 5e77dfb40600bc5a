// What bounds a flow on this machine, and what the process asked of it.

#ifndef FLOWGUARD_CSPEEDLIMITS_H
#define FLOWGUARD_CSPEEDLIMITS_H

#pragma clang assume_nonnull begin

// Calls of malloc, calloc, realloc and the aligned ones so far, on all threads.
long fg_allocation_count(void);

// Runs `rounds` rounds of fused multiply-adds on registers alone, with the widest vectors of this CPU.
// Returns the floating-point operations done; `sink` takes a value that depends on all of them.
double fg_fma_rounds(long rounds, float *sink);

// The widest vectors of this CPU: "avx512", "avx2" or "baseline".
const char *fg_fma_level(void);

// C [rows, columns] = A [rows, terms] B [columns, terms]^T: a dense layer.
void fg_gemm_forward(int rows, int columns, int terms, const float *a, const float *b, float *c);
// C [rows, columns] = A [rows, terms] B [terms, columns]: the gradient by a dense layer's input.
void fg_gemm_input(int rows, int columns, int terms, const float *a, const float *b, float *c);
// C [rows, columns] = A [terms, rows]^T B [terms, columns]: the gradient by its weights.
void fg_gemm_weights(int rows, int columns, int terms, const float *a, const float *b, float *c);

#pragma clang assume_nonnull end

#endif
