// Squares of LANES by LANES, turned in registers.

#define FG_LANE_COUNT (FG_VECTOR_BYTES / (FG_IS_DOUBLE ? 8 : 4))

#if FG_LANE_COUNT == 2
#define FG_LOW 0, 2
#define FG_HIGH 1, 3
#elif FG_LANE_COUNT == 4
#define FG_LOW 0, 4, 1, 5
#define FG_HIGH 2, 6, 3, 7
#elif FG_LANE_COUNT == 8
#define FG_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define FG_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define FG_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define FG_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif

// to[c * to_stride + r] = from[r * from_stride + c], for LANES rows and columns; past `row_count` rows,
// the last one again.
static inline __attribute__((always_inline)) void FN(transpose_block)(
    const REAL *from, long from_stride, long row_count, REAL *to, long to_stride) {
    VEC a[FG_LANE_COUNT], b[FG_LANE_COUNT];
    _Pragma("clang loop unroll(full)") for (long r = 0; r < FG_LANE_COUNT; r++)
        a[r] = FN(load)(from + (r < row_count ? r : row_count - 1) * from_stride);
    // Each pass interleaves the rows of one half with those of the other: after as many passes as
    // a lane's number has bits, rows have become columns.
    _Pragma("clang loop unroll(full)") for (int pass = 1; pass < FG_LANE_COUNT; pass *= 2) {
        _Pragma("clang loop unroll(full)") for (int r = 0; r < FG_LANE_COUNT / 2; r++) {
            b[2 * r] = __builtin_shufflevector(a[r], a[r + FG_LANE_COUNT / 2], FG_LOW);
            b[2 * r + 1] = __builtin_shufflevector(a[r], a[r + FG_LANE_COUNT / 2], FG_HIGH);
        }
        _Pragma("clang loop unroll(full)") for (int r = 0; r < FG_LANE_COUNT; r++) a[r] = b[r];
    }
    _Pragma("clang loop unroll(full)") for (long r = 0; r < FG_LANE_COUNT; r++)
        FN(store)(to + r * to_stride, a[r]);
}

#undef FG_LOW
#undef FG_HIGH
