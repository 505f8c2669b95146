#pragma once
// One layer's tensors on the device, and elements of its passes' results, drawn at random and summed in
// double on the host: a check that costs little at any size.
#include <array>
#include <vector>

#include "benchmarks/network_shapes.h"
#include "engine/tensor.h"
#include "kernels/cuda/conv3d/variants.h"

namespace voxot::bench {

class SampledConv3d {
 public:
  SampledConv3d(const Layer& layer, DType dtype);

  /// The pass into a result of its own, with the layer's epilogue.
  [[nodiscard]] cuda::ConvCall call(cuda::ConvPass pass) const;
  /// The drawn elements' values in double.
  [[nodiscard]] std::vector<double> exact(cuda::ConvPass pass) const;
  /// Fills the pass's result with NaN.
  void poison(cuda::ConvPass pass) const;
  /// The drawn elements as the device has them.
  [[nodiscard]] std::vector<double> values(cuda::ConvPass pass) const;
  /// Whether all of the result is finite.
  [[nodiscard]] bool finite(cuda::ConvPass pass) const;

 private:
  [[nodiscard]] const Tensor& result(cuda::ConvPass pass) const;
  [[nodiscard]] std::vector<std::int64_t> drawn(cuda::ConvPass pass) const;
  [[nodiscard]] double forward_at(std::int64_t element) const;
  [[nodiscard]] double grad_input_at(std::int64_t element) const;
  [[nodiscard]] double grad_weight_at(std::int64_t element) const;

  Layer layer_;
  Tensor x_, grad_y_, weight_, bias_, residual_;                           // on the device
  Tensor host_x_, host_grad_y_, host_weight_, host_bias_, host_residual_;  // the same values, fp32
  Tensor y_, grad_x_, grad_weight_;
};

}  // namespace voxot::bench
