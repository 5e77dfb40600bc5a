// The table of one level and one scalar, and the end of what kernels_elementwise.h defined.

const FG_JOIN(fg_kernels_, FG_SUFFIX, , ) FG_JOIN(fg_, FG_LEVEL_NAME, _, FG_SUFFIX) = {
    .dense = FN(dense),
    .dense_backward = FN(dense_backward),
    .pack = FN(pack),
    .dense_packed = FN(dense_packed),
    .dense_row = FN(dense_row),
    .weight_gradient = FN(weight_gradient),
    .row_sums = FN(row_sums),
    .clamp = FN(clamp),
    .clamp_columns = FN(clamp_columns),
    .clamp_backward = FN(clamp_backward),
    .affine_forward = FN(affine_forward),
    .affine_forward_columns = FN(affine_forward_columns),
    .affine_inverse = FN(affine_inverse),
    .affine_backward = FN(affine_backward),
    .scale_shift = FN(scale_shift),
    .add_scaled = FN(add_scaled),
    .add_constant = FN(add_constant),
    .dot = FN(dot),
    .sum = FN(sum),
    .normal_log_density = FN(normal_log_density),
    .normal_backward = FN(normal_backward),
    .logistic_log_density = FN(logistic_log_density),
    .logistic_backward = FN(logistic_backward),
    .spline_forward = FN(spline_forward),
    .spline_inverse = FN(spline_inverse),
    .spline_backward = FN(spline_backward),
    .add_relu = FN(add_relu),
    .add_where_positive = FN(add_where_positive),
    .load_tile = FN(load_tile),
    .store_tile = FN(store_tile),
    .exp = FN(exp_all),
    .tanh = FN(tanh_all),
    .log = FN(log_all),
    .softplus = FN(softplus_all),
    .add = FN(add),
    .sum_of_squares = FN(sum_of_squares),
    .adam = FN(adam),
};

#undef FG_UNROLL
#undef FG_INLINE
#undef FG_OVER_OUTPUTS
#undef FG_OVER_BLOCKS
#undef FG_LANE_COUNT
#undef FG_OVER_ROWS
#undef FG_LOAD_DOUBLES
#undef FG_STORE_DOUBLES
#undef FG_TOTAL
#undef FN
#undef FG_SUFFIX
#undef REAL
#undef INT
#undef VEC
#undef IVEC
#undef DVEC
#undef LANES
