#pragma once
// What the tests of the CUDA convolutions share: guarded device arrays, geometries, limits.
#include "kernels/cuda/conv3d/variants.h"
#include "kernels/sizes.h"
#include "tests/op_case.h"

namespace voxot::test {

inline Conv3dParams conv_params(std::int64_t n, std::int64_t in, std::int64_t out,
                                std::array<std::int64_t, 3> extent, std::array<std::int64_t, 3> kernel,
                                std::array<std::int64_t, 3> stride = {1, 1, 1},
                                std::array<std::int64_t, 3> padding = {0, 0, 0},
                                std::array<std::int64_t, 3> dilation = {1, 1, 1}) {
  return {n, in, out, extent, kernel, stride, padding, dilation};
}

/// A device array between guards, with the values in double as its type stores them.
struct Operand {
  Operand(const std::vector<double>& values, DType dtype, double guard)
      : tensor({std::ssize(values)}, values, dtype, guard, Device::cuda), exact(doubles(tensor)) {}
  Operand(std::int64_t count, std::uint64_t seed, DType dtype)
      : Operand(test_values(count, Values::normal, seed), dtype, NAN) {}
  [[nodiscard]] void* data() const { return tensor.data(); }
  [[nodiscard]] std::vector<double> result() const { return doubles(tensor); }
  Guarded tensor;
  std::vector<double> exact;
};

/// Mean and variance that a call writes, between guards.
struct StatisticsBuffers {
  StatisticsBuffers(std::int64_t outer, std::int64_t groups, DType dtype)
      : mean(std::vector<double>(to_size(outer * groups), 7), dtype, kSentinel),
        variance(std::vector<double>(to_size(outer * groups), 7), dtype, kSentinel),
        wanted{outer, groups, mean.data(), variance.data()} {}

  /// Against those of y, rows × channels as it is stored.
  void check(const std::vector<double>& y, const Conv3dParams& p, double mean_limit,
             double variance_limit) const {
    const auto outer = to_size(wanted.outer);
    const auto groups = to_size(wanted.groups);
    const auto channels = to_size(p.out_channels);
    const std::size_t members = channels / groups;
    const std::size_t each = y.size() / outer;
    std::vector<double> means(outer * groups);
    std::vector<double> variances(outer * groups);
    const auto result = [&](std::size_t i) { return i / each * groups + i % channels / members; };
    const double share = static_cast<double>(outer * groups) / static_cast<double>(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) means[result(i)] += share * y[i];
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double d = y[i] - means[result(i)];
      variances[result(i)] += share * d * d;
    }
    const double mean_error = distance(mean.result(), means);
    CHECK(mean_error < mean_limit);
    const double variance_error = distance(variance.result(), variances);
    CHECK(variance_error < variance_limit);
  }

  Operand mean, variance;
  Conv3dStatistics wanted;
};

struct ConvType {
  DType dtype;
  cuda::ConvMath math;
};
inline constexpr ConvType kConvTypes[] = {{DType::f32, cuda::ConvMath::exact},
                                          {DType::f32, cuda::ConvMath::tf32},
                                          {DType::bf16, cuda::ConvMath::exact},
                                          {DType::f64, cuda::ConvMath::exact}};
inline DType parameter_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

}  // namespace voxot::test
