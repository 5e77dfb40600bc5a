#ifndef LIBFUZZER_H
#define LIBFUZZER_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's loop, for a program that has a main of its own: a file that is linked with
   -fsanitize=fuzzer holds it. The function is called with each input, and returns 0. */
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*run)(const uint8_t *bytes, size_t count));

#endif
