// Statistics that the CUDA convolutions take of what they write: every variant, of the batch and of each
// sample, with tiles that lie in one sample and tiles that straddle several.
#include "kernels/sizes.h"
#include "tests/conv3d_cuda_helpers.h"

using namespace voxot;
using namespace voxot::test;

namespace {

struct Case {
  const char* name;
  Conv3dParams params;
  bool each_sample;
  std::int64_t groups;
};

const Case kCases[] = {
    {"the batch, several tiles", conv_params(3, 8, 33, {5, 9, 7}, {1, 1, 1}), false, 33},
    {"the batch, one row in the last tile", conv_params(1, 8, 8, {1, 1, 129}, {1, 1, 1}), false, 8},
    {"the batch in groups", conv_params(2, 4, 24, {4, 5, 6}, {1, 1, 1}), false, 6},
    {"each sample, whole tiles", conv_params(3, 8, 24, {4, 8, 8}, {1, 1, 1}), true, 24},
    {"each sample in groups, whole tiles", conv_params(2, 8, 40, {4, 4, 8}, {1, 1, 1}), true, 5},
    {"each sample, tiles straddle", conv_params(3, 8, 24, {3, 5, 7}, {1, 1, 1}), true, 24},
    {"each sample in groups, tiles straddle", conv_params(5, 3, 12, {2, 2, 2}, {1, 1, 1}), true, 4},
    {"one sample", conv_params(1, 8, 16, {3, 4, 5}, {1, 1, 1}), true, 2},
};

/// Calls body(variant, call) for every variant and type that takes the case.
template <class Body>
void for_each_variant(const Conv3dParams& p, Body body) {
  int taken = 0;
  for (const cuda::ConvVariant& variant : cuda::variants(cuda::ConvPass::forward)) {
    for (const auto& [dtype, math] : kConvTypes) {
      cuda::ConvCall call;
      call.dtype = dtype;
      call.math = math;
      call.params = p;
      if (!variant.takes(call)) continue;
      INFO(variant.name << ", " << name_of(dtype) << (math == cuda::ConvMath::tf32 ? " as tf32" : ""));
      ++taken;
      body(variant, call);
    }
  }
  CHECK(taken > 0);
}

struct Run {
  std::vector<double> y, mean, variance;
  bool operator==(const Run&) const = default;
};

/// Runs the call on random inputs scaled by `deviation`, with `mean` as its bias.
Run run(const cuda::ConvVariant& variant, cuda::ConvCall call, const Case& c, double deviation, double mean,
        double mean_limit, double variance_limit) {
  const Conv3dParams& p = c.params;
  const DType parameter = parameter_of(call.dtype);
  const Operand x(p.batch * p.in_voxels() * p.in_channels, 1, call.dtype);
  std::vector<double> weights = test_values(p.weight_count(), Values::normal, 2);
  for (double& w : weights) w *= deviation;
  const Operand w(weights, parameter, NAN);
  const Operand bias(std::vector<double>(to_size(p.out_channels), mean), parameter, NAN);
  const std::int64_t count = p.batch * p.out_voxels() * p.out_channels;
  const Operand y(std::vector<double>(to_size(count), 1), call.dtype, kSentinel);
  const StatisticsBuffers statistics(c.each_sample ? p.batch : 1, c.groups, parameter);
  call.input = x.data();
  call.other = w.data();
  call.output = y.data();
  call.epilogue.bias = bias.data();
  call.epilogue.statistics = statistics.wanted;
  variant.run(kernels::stream_of(Device::cuda), call);
  statistics.check(y.result(), p, mean_limit, variance_limit);
  return {y.result(), statistics.mean.result(), statistics.variance.result()};
}

}  // namespace

TEST_CASE("cuda convolution: statistics of what is written", "[conv3d][cuda]") {
  if (no_device()) return;
  for (const Case& c : kCases) {
    INFO(c.name);
    for_each_variant(c.params, [&](const cuda::ConvVariant& variant, const cuda::ConvCall& call) {
      // fp32 sums of some hundred values: their rounding, 6e-8, times a few.
      const Run first = run(variant, call, c, 1, 0.25, 2e-6, 2e-6);
      CHECK(run(variant, call, c, 1, 0.25, 2e-6, 2e-6) == first);
    });
  }
}

// A mean 20,000 times the deviation: the difference of E[y²] and E[y]² in fp32 would be wrong by a hundred
// times the variance. What is left is the rounding of each tile's mean, 6e-5, against a deviation of 0.05.
TEST_CASE("cuda convolution: statistics of a small variance about a large mean", "[conv3d][cuda]") {
  if (no_device()) return;
  const Case c{"", conv_params(2, 8, 20, {5, 9, 11}, {1, 1, 1}), false, 20};
  for_each_variant(c.params, [&](const cuda::ConvVariant& variant, const cuda::ConvCall& call) {
    // bf16 stores the mean to four units: there the variance is that of a constant, or of a few values.
    const double deviation = call.dtype == DType::bf16 ? 1 : 0.0175;
    run(variant, call, c, deviation, 1000, 1e-6, 1e-3);
  });
}
