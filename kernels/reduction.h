#pragma once
// Reductions over the middle axis of an outer × axis × inner view, and losses reduced to one number.
// Sums are fp32 in fixed order (f64 for f64): the same thread count gives the same bits.
#include "kernels/kernel.h"

namespace voxot {

/// What becomes of the axis.
enum class Reduction : std::uint8_t { sum, mean, variance };  // variance is unbiased: Σ(x − x̄)²/(axis − 1)

/// The view of x that a reduction takes.
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
struct ReductionGradients {
  const void* x;  // read for the variance alone
  const void* grad_y;
  void* grad_x;
  Write write = Write::overwrite;
};
/// grad_x ← or += the gradient of the reduction.
inline constinit Kernel<void(DType, const ReductionParams&, const ReductionGradients&)> reduce_backward{
    "reduce_backward"};

/// loss ← mean (a − b)² (dtype, count, a, b, loss).
inline constinit Kernel<void(DType, std::int64_t, const void*, const void*, void*)>
    mean_squared_error_forward{"mean_squared_error_forward"};
struct MeanSquaredErrorGradients {
  std::int64_t count;
  const void* a;
  const void* b;
  const void* grad_loss;
  double sign = 1;  // 1: the gradient of a; −1: of b
  void* gradient;
  Write write = Write::overwrite;
};
/// gradient ← or += 2(a − b)·grad_loss/count·sign.
inline constinit Kernel<void(DType, const MeanSquaredErrorGradients&)> mean_squared_error_backward{
    "mean_squared_error_backward"};

/// x is rows × classes; labels lie in the device's memory and in [0, classes), which is not checked.
struct CrossEntropyForward {
  std::int64_t rows;
  std::int64_t classes;
  const void* x;
  const std::int32_t* labels;
  void* probabilities;  // [rows, classes], saved for the gradient
  void* loss;
};
/// loss ← mean over rows of −log softmax(x)[label].
inline constinit Kernel<void(DType, const CrossEntropyForward&)> cross_entropy_forward{
    "cross_entropy_forward"};

struct CrossEntropyGradients {
  std::int64_t rows;
  std::int64_t classes;
  const void* probabilities;
  const std::int32_t* labels;
  const void* grad_loss;
  void* grad_x;
  Write write = Write::overwrite;
};
/// grad_x ← or += (probabilities − one at the label)·grad_loss/rows.
inline constinit Kernel<void(DType, const CrossEntropyGradients&)> cross_entropy_backward{
    "cross_entropy_backward"};

}  // namespace kernels
}  // namespace voxot
