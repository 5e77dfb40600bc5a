#ifndef FLOWGUARD_CZLIB_H
#define FLOWGUARD_CZLIB_H

#include <zlib.h>

// inflateInit2 is a macro, which Swift does not see. 16 asks for a gzip header and no other.
static inline int fg_gzip_begin(z_stream *stream) { return inflateInit2(stream, 16 + MAX_WBITS); }

#endif
