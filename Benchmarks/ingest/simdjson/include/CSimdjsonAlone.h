#ifndef CSIMDJSONALONE_H
#define CSIMDJSONALONE_H

#ifdef __cplusplus
extern "C" {
#endif

/* Reads the numbers of these keys from each object of a file, a line each; how many had all of them. */
long fg_simdjson_rows(const char *path, char *const *keys, int count);

#ifdef __cplusplus
}
#endif

#endif
