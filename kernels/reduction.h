#pragma once
// Reductions over the middle axis of an outer × axis × inner view, and losses reduced to one number.
// Sums are fp32 in fixed order (f64 for f64): the same thread count gives the same bits.
#include "kernels/kernel.h"

namespace voxot {

enum class Reduction : std::uint8_t { sum, mean, variance };  // variance is unbiased: Σ(x − x̄)²/(axis − 1)

struct ReductionParams {
  Reduction kind = Reduction::sum;
  std::int64_t outer = 1;
  std::int64_t axis = 1;
  std::int64_t inner = 1;
};

namespace kernels {

/// y [outer, inner] ← reduction of x (dtype, params, x, y).
inline constinit Kernel<void(DType, const ReductionParams&, const void*, void*)> reduce_forward{
    "reduce_forward"};
/// (dtype, params, x, grad_y, grad_x, write); x is read for the variance only.
inline constinit Kernel<void(DType, const ReductionParams&, const void*, const void*, void*, Write)>
    reduce_backward{"reduce_backward"};

/// loss ← mean (a − b)² (dtype, count, a, b, loss).
inline constinit Kernel<void(DType, std::int64_t, const void*, const void*, void*)>
    mean_squared_error_forward{"mean_squared_error_forward"};
/// grad_a ← or += 2(a − b)·grad_loss/count·sign (dtype, count, a, b, grad_loss, sign, grad_a, write): sign 1
/// for the first argument, −1 for the second.
inline constinit Kernel<void(DType, std::int64_t, const void*, const void*, const void*, double, void*,
                             Write)>
    mean_squared_error_backward{"mean_squared_error_backward"};

/// loss ← mean over rows of −log softmax(x)[label]; probabilities [rows, classes] are saved; labels lie in
/// the device's memory and in [0, classes), which is not checked (dtype, rows, classes, x, labels,
/// probabilities, loss).
inline constinit Kernel<void(DType, std::int64_t, std::int64_t, const void*, const std::int32_t*, void*,
                             void*)>
    cross_entropy_forward{"cross_entropy_forward"};
/// (dtype, rows, classes, probabilities, labels, grad_loss, grad_x, write)
inline constinit Kernel<void(DType, std::int64_t, std::int64_t, const void*, const std::int32_t*, const void*,
                             void*, Write)>
    cross_entropy_backward{"cross_entropy_backward"};

}  // namespace kernels
}  // namespace voxot
