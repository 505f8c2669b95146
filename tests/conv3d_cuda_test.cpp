// Every variant of the CUDA convolutions against the naive CPU convolution in double, at sizes off the tile.
#include <catch2/catch.hpp>

#include "kernels/cpu/conv3d/naive.h"
#include "kernels/sizes.h"
#include "tests/conv3d_cuda_helpers.h"

using namespace voxot;
using namespace voxot::test;

namespace {

struct Geometry {
  const char* name;
  Conv3dParams params;
};

constexpr std::array<std::int64_t, 3> kOne{1, 1, 1};
constexpr std::array<std::int64_t, 3> kTwo{2, 2, 2};
constexpr std::array<std::int64_t, 3> kThree{3, 3, 3};

const Geometry kGeometries[] = {
    {"one voxel, one channel", conv_params(1, 1, 1, kOne, kOne)},
    {"3x3x3", conv_params(2, 8, 16, {4, 5, 6}, kThree, kOne, kOne)},
    {"three channels", conv_params(2, 3, 24, {5, 4, 3}, kThree, kOne, kOne)},
    {"to three channels", conv_params(1, 16, 3, {5, 4, 3}, kThree, kOne, kOne)},
    {"31 to 33 channels", conv_params(1, 31, 33, {3, 5, 4}, kThree, kOne, kOne)},
    {"32 to 40 channels", conv_params(2, 32, 40, {2, 5, 3}, kThree, kOne, kOne)},
    {"72 channels", conv_params(1, 72, 72, {2, 3, 3}, kThree, kOne, kOne)},
    {"1x1x1", conv_params(3, 24, 40, {3, 5, 7}, kOne)},
    {"1x1x1 to three channels", conv_params(1, 64, 3, {5, 5, 5}, kOne)},
    {"stride two", conv_params(2, 16, 24, {7, 6, 5}, kThree, kTwo, kOne)},
    {"stride two, kernel two", conv_params(2, 16, 8, {6, 6, 4}, kTwo, kTwo)},
    {"stride two, kernel four", conv_params(1, 8, 8, {6, 7, 5}, {4, 4, 4}, kTwo, kOne)},
    {"stride three over kernel two", conv_params(1, 8, 8, {7, 8, 9}, kTwo, kThree)},
    {"dilation two", conv_params(1, 16, 16, {7, 6, 5}, kThree, kOne, kTwo, kTwo)},
    {"dilation two, stride two", conv_params(1, 8, 8, {9, 8, 7}, kThree, kTwo, kOne, kTwo)},
    {"all axes different", conv_params(2, 8, 5, {4, 7, 6}, {1, 3, 5}, {1, 2, 3}, {0, 1, 4}, {1, 2, 1})},
    {"linear", conv_params(1, 48, 20, {1, 1, 37}, kOne)},
    {"linear, many to two", conv_params(1, 600, 2, {1, 1, 5}, kOne)},
    {"many rows", conv_params(3, 8, 8, {8, 9, 7}, kThree, kOne, kOne)},
};

struct Epilogue {
  const char* name;
  bool bias, residual;
  float scale;
  Activation activation;
};
const Epilogue kEpilogues[] = {
    {"bias, residual, scale, leaky_relu", true, true, 0.1F, {ActivationKind::leaky_relu, 0.2F}},
    {"bias, relu", true, false, 1, {ActivationKind::relu, 0}},
    {"plain", false, false, 1, {}},
};

/// Relative L2 against double. fp32: some thousand products. tf32: 11 bits of each factor, errors of either
/// sign. bf16: one rounding of the result and of a scale's product.
double limit(DType dtype, bool tf32) {
  return dtype == DType::f64 ? 1e-14 : dtype == DType::bf16 ? 6e-3 : tf32 ? 1e-3 : 5e-6;
}

void run_variant(const cuda::ConvVariant& variant, const cuda::ConvCall& call, const Operand& out,
                 const std::vector<double>& expected) {
  variant.run(kernels::stream_of(Device::cuda), call);
  const double error = distance(out.result(), expected);
  CHECK(error < limit(call.dtype, call.math == cuda::ConvMath::tf32));
}

const char* text(Write write) { return write == Write::accumulate ? "accumulate" : "overwrite"; }

void check_variant(const cuda::ConvVariant& variant, cuda::ConvCall call) {
  const Conv3dParams& p = call.params;
  const DType parameter = parameter_of(call.dtype);
  const Operand x(p.batch * p.in_voxels() * p.in_channels, 1, call.dtype);
  const Operand gy(p.batch * p.out_voxels() * p.out_channels, 2, call.dtype);
  const Operand w(p.weight_count(), 3, parameter);
  const Operand bias(p.out_channels, 4, parameter);
  const Operand residual(gy.exact.size(), 5, call.dtype);
  if (call.pass == cuda::ConvPass::forward) {
    call.input = x.data();
    call.other = w.data();
    for (const Epilogue& e : kEpilogues) {
      if (p.out_channels > 16 && &e != kEpilogues) break;  // the first has it all; small cases try the others
      INFO(e.name);
      const Operand y(std::vector<double>(gy.exact.size(), 1), call.dtype, kSentinel);
      call.epilogue = {
          e.bias ? bias.data() : nullptr, e.residual ? residual.data() : nullptr, e.scale, e.activation, {}};
      call.output = y.data();
      std::vector<double> expected(gy.exact.size());
      const Conv3dEpilogue exact{e.bias ? bias.exact.data() : nullptr,
                                 e.residual ? residual.exact.data() : nullptr,
                                 e.scale,
                                 e.activation,
                                 {}};
      cpu::conv3d_forward_naive(p, x.exact.data(), w.exact.data(), exact, expected.data());
      const StatisticsBuffers statistics(1, p.out_channels, parameter);
      const bool taken = &e == kEpilogues;
      if (taken) call.epilogue.statistics = statistics.wanted;
      run_variant(variant, call, y, expected);
      // Sums of up to 1512 values of either sign; the mean may be a hundredth of them.
      if (taken) statistics.check(y.result(), p, 1e-5, 1e-5);
    }
    return;
  }
  const bool of_input = call.pass == cuda::ConvPass::grad_input;
  call.input = of_input ? gy.data() : x.data();
  call.other = of_input ? w.data() : gy.data();
  for (const auto& [scale, write] :
       {std::pair{0.125F, Write::accumulate}, std::pair{1.0F, Write::overwrite}}) {
    if (write == Write::overwrite && p.out_channels > 16) break;  // small cases try both
    INFO("scale " << scale << ", " << text(write));
    const std::int64_t count = of_input ? p.batch * p.in_voxels() * p.in_channels : p.weight_count();
    const Operand out(test_values(count, Values::normal, 6), of_input ? call.dtype : parameter, kSentinel);
    call.epilogue.scale = scale;
    call.write = write;
    call.output = out.data();
    std::vector<double> expected = out.exact;
    const auto exact_scale = static_cast<double>(scale);
    if (of_input) {
      cpu::conv3d_grad_input_naive(p, gy.exact.data(), w.exact.data(), exact_scale, expected.data(), write);
    } else {
      cpu::conv3d_grad_weight_naive<double>(p, x.exact.data(), gy.exact.data(), exact_scale, expected.data(),
                                            nullptr, write);
    }
    run_variant(variant, call, out, expected);
  }
}

}  // namespace

namespace {

void check_variants(cuda::ConvPass pass) {
  if (no_device()) return;
  int checked = 0;
  for (const Geometry& geometry : kGeometries) {
    geometry.params.validate();
    for (const cuda::ConvVariant& variant : cuda::variants(pass)) {
      for (const auto& [dtype, math] : kConvTypes) {
        cuda::ConvCall call;
        call.pass = pass;
        call.dtype = dtype;
        call.math = math;
        call.params = geometry.params;
        if (!variant.takes(call)) continue;
        // The naive variant is the same code for every type; in one it is as slow as all the others together.
        if (variant.name == std::string("naive") && dtype == DType::f32) continue;
        INFO(variant.name << " " << name_of(pass) << ", " << geometry.name << ", " << name_of(dtype)
                          << (math == cuda::ConvMath::tf32 ? " as tf32" : ""));
        check_variant(variant, call);
        ++checked;
      }
    }
  }
  CHECK(checked > 50);
}

}  // namespace

TEST_CASE("cuda convolution: every variant of forward against double", "[conv3d][cuda]") {
  check_variants(cuda::ConvPass::forward);
}
TEST_CASE("cuda convolution: every variant of grad_input against double", "[conv3d][cuda]") {
  check_variants(cuda::ConvPass::grad_input);
}
TEST_CASE("cuda convolution: every variant of grad_weight against double", "[conv3d][cuda]") {
  check_variants(cuda::ConvPass::grad_weight);
}

TEST_CASE("cuda convolution: NaN passes every variant's epilogue", "[conv3d][cuda]") {
  if (no_device()) return;
  for (const Conv3dParams& p :
       {conv_params(2, 8, 16, {4, 5, 6}, kThree, kOne, kOne), conv_params(1, 24, 8, {3, 5, 2}, kOne)}) {
    std::vector<double> values = test_values(p.batch * p.in_voxels() * p.in_channels, Values::normal, 1);
    values[values.size() / 2] = NAN;
    std::vector<double> weights = test_values(p.weight_count(), Values::normal, 2);
    std::vector<double> sums(to_size(p.batch * p.out_voxels() * p.out_channels));
    cpu::conv3d_forward_naive(p, values.data(), weights.data(), {}, sums.data());
    for (const cuda::ConvVariant& variant : cuda::variants(cuda::ConvPass::forward)) {
      for (const auto& [dtype, math] : kConvTypes) {
        if (variant.name == std::string("naive") && dtype == DType::f32) continue;
        cuda::ConvCall call;
        call.pass = cuda::ConvPass::forward;
        call.dtype = dtype;
        call.math = math;
        call.params = p;
        call.epilogue.activation = {ActivationKind::relu, 0};
        if (!variant.takes(call)) continue;
        INFO(variant.name << ", " << name_of(dtype));
        const Operand x(values, dtype, kSentinel);
        const Operand w(weights, parameter_of(dtype), kSentinel);
        const Operand y(std::vector<double>(sums.size(), 1), dtype, kSentinel);
        call.input = x.data();
        call.other = w.data();
        call.output = y.data();
        variant.run(kernels::stream_of(Device::cuda), call);
        CHECK(std::ranges::equal(y.result(), sums,
                                 [](double a, double b) { return std::isnan(a) == std::isnan(b); }));
      }
    }
  }
}

TEST_CASE("cuda convolution: the epilogue over plain sums", "[conv3d][cuda]") {
  if (no_device()) return;
  const Stream stream = kernels::stream_of(Device::cuda);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    for (const Epilogue& e : kEpilogues) {
      INFO(name_of(dtype) << ", " << e.name);
      cuda::ConvCall call;
      call.dtype = dtype;
      call.params = conv_params(2, 3, 5, {3, 4, 5}, kOne);
      const std::int64_t count = 2 * 60 * 5;
      const Operand sums(test_values(count, Values::away, 1), dtype, kSentinel);
      const Operand bias(5, 2, DType::f32);
      const Operand residual(count, 3, dtype);
      call.output = sums.data();
      call.epilogue = {
          e.bias ? bias.data() : nullptr, e.residual ? residual.data() : nullptr, e.scale, e.activation, {}};
      std::vector<double> expected(sums.exact.size());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        double v = sums.exact[i] + (e.bias ? bias.exact[i % 5] : 0);
        v = static_cast<double>(e.scale) * v + (e.residual ? residual.exact[i] : 0);
        const double slope =
            e.activation.kind == ActivationKind::none ? 1 : static_cast<double>(e.activation.slope);
        expected[i] = v > 0 ? v : slope * v;
      }
      cuda::conv3d_epilogue(stream, call);
      CHECK(distance(sums.result(), expected) < limit(dtype, false));
    }
  }
}
