// Convolution: the fast kernels against the naive loops in double, then the ops with their gradients.
#include "engine/ops/conv3d.h"

#include "kernels/cpu/conv3d/naive.h"
#include "kernels/sizes.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

using Triple = std::array<std::int64_t, 3>;

struct Geometry {
  std::int64_t batch, in, out;
  Triple extent, kernel, stride, padding, dilation;
};

constexpr Triple kOne{1, 1, 1};
constexpr Triple kTwo{2, 2, 2};
constexpr Triple kThree{3, 3, 3};
constexpr Triple kNone{0, 0, 0};

const Geometry kGeometries[] = {
    // What the networks use: 3³ same, at channel counts on and off the vector width.
    {2, 3, 8, {6, 7, 9}, kThree, kOne, kOne, kOne},
    {4, 3, 16, {16, 15, 14}, kThree, kOne, kOne, kOne},  // grad_input by Winograd, its channels filled up
    {1, 1, 1, {5, 5, 5}, kThree, kOne, kOne, kOne},
    {3, 8, 8, {5, 4, 7}, kThree, kOne, kOne, kOne},
    {2, 8, 16, {8, 8, 8}, kThree, kOne, kOne, kOne},
    {1, 16, 16, {5, 7, 3}, kThree, kOne, kOne, kOne},
    {2, 16, 32, {4, 4, 4}, kThree, kOne, kOne, kOne},
    {1, 32, 48, {2, 2, 2}, kThree, kOne, kOne, kOne},
    {2, 31, 33, {3, 5, 4}, kThree, kOne, kOne, kOne},
    {1, 33, 31, {4, 3, 5}, kThree, kOne, kOne, kOne},
    {2, 24, 40, {7, 6, 5}, kThree, kOne, kOne, kOne},
    {1, 64, 64, {4, 4, 4}, kThree, kOne, kOne, kOne},
    {2, 8, 3, {7, 3, 5}, kThree, kOne, kOne, kOne},
    {1, 16, 1, {1, 1, 1}, kThree, kOne, kOne, kOne},
    // 1³
    {2, 4, 3, {3, 5, 7}, kOne, kOne, kNone, kOne},
    {1, 16, 32, {5, 3, 3}, kOne, kOne, kNone, kOne},
    {2, 33, 31, {2, 3, 3}, kOne, kOne, kNone, kOne},
    // no padding, more padding than same
    {2, 3, 16, {5, 6, 7}, kThree, kOne, kNone, kOne},
    {1, 16, 8, {5, 4, 3}, kThree, kOne, kTwo, kOne},
    {1, 2, 3, {3, 3, 3}, kOne, kOne, kTwo, kOne},  // padding beyond the kernel: grad_input cannot be mirrored
    // strides
    {2, 3, 16, {7, 8, 9}, kThree, kTwo, kOne, kOne},
    {1, 16, 32, {8, 8, 8}, kThree, kTwo, kOne, kOne},
    {2, 16, 8, {6, 4, 8}, kTwo, kTwo, kNone, kOne},
    {1, 8, 31, {7, 5, 5}, {5, 5, 5}, {2, 1, 3}, kTwo, kOne},
    {1, 5, 4, {9, 8, 7}, kOne, kTwo, kNone, kOne},  // rows that no window reads
    // dilation
    {1, 3, 8, {9, 8, 7}, kThree, kOne, kTwo, kTwo},
    {2, 16, 16, {7, 7, 6}, kThree, kOne, kNone, kTwo},
    {1, 8, 5, {9, 7, 8}, kThree, kTwo, kOne, kTwo},
    // a different thing on each axis
    {2, 3, 5, {4, 7, 9}, {1, 3, 5}, kOne, {0, 1, 2}, kOne},
    {1, 16, 33, {6, 5, 7}, {3, 1, 2}, {1, 2, 1}, {1, 0, 1}, {2, 1, 1}},
    {2, 8, 16, {5, 9, 11}, {2, 3, 5}, {1, 2, 3}, {1, 2, 0}, {1, 1, 2}},
    // an image, a row
    {2, 3, 16, {1, 9, 8}, {1, 3, 3}, kOne, {0, 1, 1}, kOne},
    {1, 16, 16, {1, 1, 37}, {1, 1, 3}, kOne, {0, 0, 1}, kOne},
};

Conv3dParams params_of(const Geometry& g) {
  Conv3dParams p;
  p.batch = g.batch;
  p.in_channels = g.in;
  p.out_channels = g.out;
  p.in_extent = g.extent;
  p.kernel = g.kernel;
  p.stride = g.stride;
  p.padding = g.padding;
  p.dilation = g.dilation;
  p.validate();
  return p;
}

std::string describe(const Conv3dParams& p) {
  const auto text = [](const Triple& t) { return fmt::format("{}x{}x{}", t[0], t[1], t[2]); };
  return fmt::format("N {} C {}->{} extent {} kernel {} stride {} padding {} dilation {}", p.batch,
                     p.in_channels, p.out_channels, text(p.in_extent), text(p.kernel), text(p.stride),
                     text(p.padding), text(p.dilation));
}

/// A buffer between guards: NaN round what is read (a stray read shows), a sentinel round what is written.
struct Operand {
  Operand(std::int64_t count, std::uint64_t seed, DType dtype)
      : exact(test_values(count, Values::normal, seed)), tensor({count}, exact, dtype, NAN) {}
  Operand(std::vector<double> values, DType dtype)
      : exact(std::move(values)), tensor({std::ssize(exact)}, exact, dtype, kSentinel) {}
  std::vector<double> exact;
  Guarded tensor;
};

/// fp32: up to 64·27 products (and Winograd's transforms). bf16: one rounding of the result (2e-3), and of
/// the weights where a scale that is no power of two leaves them inexact.
double limit(DType dtype) { return dtype == DType::bf16 ? 6e-3 : 5e-6; }

const Stream kCpu{};
const DType kFast[] = {DType::f32, DType::bf16};

struct Epilogue {
  const char* name;
  bool bias, residual;
  float scale;
  Activation activation;
};
const Epilogue kEpilogues[] = {
    {"plain", false, false, 1, {}},
    {"bias", true, false, 1, {}},
    {"bias, relu", true, false, 1, {ActivationKind::relu, 0}},
    {"leaky_relu", false, false, 1, {ActivationKind::leaky_relu, 0.2F}},
    {"bias, scale", true, false, 0.1F, {}},
    {"residual", false, true, 1, {}},
    {"bias, residual, scale, leaky_relu", true, true, 0.1F, {ActivationKind::leaky_relu, 0.2F}},
};

void check_forward(const Conv3dParams& p, DType dtype) {
  const Operand x(p.batch * p.in_voxels() * p.in_channels, 1, dtype);
  const Operand w(p.weight_count(), 2, DType::f32);
  const Operand bias(p.out_channels, 3, DType::f32);
  const std::int64_t count = p.batch * p.out_voxels() * p.out_channels;
  const Operand residual(count, 4, dtype);
  for (const Epilogue& e : kEpilogues) {
    INFO(e.name);
    std::vector<double> expected(to_size(count));
    const Conv3dEpilogue exact{e.bias ? bias.exact.data() : nullptr,
                               e.residual ? residual.exact.data() : nullptr, e.scale, e.activation};
    cpu::conv3d_forward_naive(p, x.exact.data(), w.exact.data(), exact, expected.data());
    const Conv3dEpilogue fast{e.bias ? bias.tensor.data() : nullptr,
                              e.residual ? residual.tensor.data() : nullptr, e.scale, e.activation};
    const Operand y(std::vector<double>(expected.size(), 1), dtype);
    // Twice: the second call runs on cached primitives.
    for (int call = 0; call < 2; ++call) {
      y.tensor.fill(NAN);
      kernels::conv3d_forward(
          kCpu, dtype, p,
          {.x = x.tensor.data(), .weight = w.tensor.data(), .epilogue = fast, .y = y.tensor.data()});
      const double error = distance(doubles(y.tensor), expected);
      CHECK(error < limit(dtype));
    }
  }
}

void check_grad_input(const Conv3dParams& p, DType dtype) {
  const Operand gy(p.batch * p.out_voxels() * p.out_channels, 5, dtype);
  const Operand w(p.weight_count(), 6, DType::f32);
  const std::vector<double> before = test_values(p.batch * p.in_voxels() * p.in_channels, Values::normal, 7);
  for (const float scale : {1.0F, 0.1F}) {
    for (const Write write : {Write::overwrite, Write::accumulate}) {
      INFO("scale " << scale << (write == Write::accumulate ? ", accumulate" : ", overwrite"));
      std::vector<double> expected = before;
      cpu::conv3d_grad_input_naive(p, gy.exact.data(), w.exact.data(), static_cast<double>(scale),
                                   expected.data(), write);
      const Operand gx(before, dtype);
      if (write == Write::overwrite) gx.tensor.fill(NAN);
      kernels::conv3d_grad_input(kCpu, dtype, p,
                                 {.grad_y = gy.tensor.data(),
                                  .weight = w.tensor.data(),
                                  .scale = scale,
                                  .grad_x = gx.tensor.data(),
                                  .write = write});
      const double error = distance(doubles(gx.tensor), expected);
      CHECK(error < limit(dtype));
    }
  }
}

void check_grad_weight(const Conv3dParams& p, DType dtype) {
  const Operand x(p.batch * p.in_voxels() * p.in_channels, 8, dtype);
  const Operand gy(p.batch * p.out_voxels() * p.out_channels, 9, dtype);
  const std::vector<double> before = test_values(p.weight_count(), Values::normal, 10);
  const std::vector<double> bias_before = test_values(p.out_channels, Values::normal, 11);
  for (const bool with_bias : {true, false}) {
    for (const float scale : {1.0F, 0.1F}) {
      for (const Write write : {Write::overwrite, Write::accumulate}) {
        INFO("scale " << scale << (write == Write::accumulate ? ", accumulate" : ", overwrite")
                      << (with_bias ? ", bias" : ""));
        std::vector<double> expected = before;
        std::vector<double> bias_expected = bias_before;
        cpu::conv3d_grad_weight_naive(p, x.exact.data(), gy.exact.data(), static_cast<double>(scale),
                                      expected.data(), bias_expected.data(), write);
        const Operand gw(before, DType::f32);
        const Operand gb(bias_before, DType::f32);
        if (write == Write::overwrite) {
          gw.tensor.fill(NAN);
          if (with_bias) gb.tensor.fill(NAN);
        }
        kernels::conv3d_grad_weight(kCpu, dtype, p,
                                    {.x = x.tensor.data(),
                                     .grad_y = gy.tensor.data(),
                                     .scale = scale,
                                     .grad_weight = gw.tensor.data(),
                                     .grad_bias = with_bias ? gb.tensor.data() : nullptr,
                                     .write = write});
        // Weights' gradients are summed in fp32 from exact products, in bf16 too.
        const double error = distance(doubles(gw.tensor), expected);
        CHECK(error < limit(DType::f32));
        const double bias_error = distance(doubles(gb.tensor), with_bias ? bias_expected : bias_before);
        CHECK(bias_error < limit(DType::f32));
      }
    }
  }
}

template <class Check>
void for_each_case(Check check_case) {
  for (const Geometry& g : kGeometries) {
    const Conv3dParams p = params_of(g);
    for (const DType dtype : kFast) {
      INFO(describe(p) << " " << name_of(dtype));
      check_case(p, dtype);
    }
  }
}

}  // namespace

TEST_CASE("conv3d: forward with every epilogue against the naive loops", "[conv3d]") {
  for_each_case(check_forward);
}
TEST_CASE("conv3d: grad_input against the naive loops", "[conv3d]") { for_each_case(check_grad_input); }
TEST_CASE("conv3d: grad_weight against the naive loops", "[conv3d]") { for_each_case(check_grad_weight); }

TEST_CASE("conv3d: NaN passes every epilogue", "[conv3d]") {
  // By Winograd, by oneDNN and by its few-channel forms, alone and among threads.
  for_each_case([](const Conv3dParams& p, DType dtype) {
    std::vector<double> values = test_values(p.batch * p.in_voxels() * p.in_channels, Values::normal, 1);
    values[values.size() / 2] = NAN;
    const Operand x(values, dtype);
    const Operand w(p.weight_count(), 2, DType::f32);
    const Operand bias(p.out_channels, 3, DType::f32);
    const std::int64_t count = p.batch * p.out_voxels() * p.out_channels;
    const Operand residual(count, 4, dtype);
    std::vector<double> sums(to_size(count));
    cpu::conv3d_forward_naive(p, x.exact.data(), w.exact.data(), {}, sums.data());
    for (const Epilogue& e : kEpilogues) {
      INFO(e.name);
      const Conv3dEpilogue fast{e.bias ? bias.tensor.data() : nullptr,
                                e.residual ? residual.tensor.data() : nullptr, e.scale, e.activation};
      const Tensor y = Tensor::empty({count}, dtype);
      kernels::conv3d_forward(
          kCpu, dtype, p, {.x = x.tensor.data(), .weight = w.tensor.data(), .epilogue = fast, .y = y.data()});
      const std::vector<double> got = doubles(y);
      int lost = 0;
      for (std::size_t i = 0; i < got.size(); ++i) lost += std::isnan(sums[i]) && !std::isnan(got[i]) ? 1 : 0;
      CHECK(lost == 0);
    }
  });
}

TEST_CASE("conv3d: the naive loops against a sum written out", "[conv3d]") {
  // Independent of everything: y[n, o, q] by its definition, one product at a time.
  const Conv3dParams p = params_of({2, 2, 3, {4, 5, 6}, {1, 3, 2}, {2, 1, 2}, {0, 1, 1}, {1, 2, 1}});
  const std::vector<double> x = test_values(p.batch * p.in_voxels() * p.in_channels, Values::normal, 1);
  const std::vector<double> w = test_values(p.weight_count(), Values::normal, 2);
  const auto out = p.out_extent();
  CHECK(out == Triple{2, 3, 4});
  std::vector<double> expected;
  for (std::int64_t n = 0; n < p.batch; ++n) {
    for (std::int64_t o = 0; o < p.out_voxels(); ++o) {
      const Triple at{o / (out[1] * out[2]), o / out[2] % out[1], o % out[2]};
      for (std::int64_t q = 0; q < p.out_channels; ++q) {
        double sum = 0;
        for (std::int64_t k = 0; k < p.kernel_volume(); ++k) {
          const Triple tap{k / (p.kernel[1] * p.kernel[2]), k / p.kernel[2] % p.kernel[1], k % p.kernel[2]};
          Triple in{};
          bool inside = true;
          for (std::size_t a = 0; a < 3; ++a) {
            in[a] = at[a] * p.stride[a] - p.padding[a] + tap[a] * p.dilation[a];
            inside = inside && in[a] >= 0 && in[a] < p.in_extent[a];
          }
          if (!inside) continue;
          const std::int64_t voxel =
              ((n * p.in_extent[0] + in[0]) * p.in_extent[1] + in[1]) * p.in_extent[2] + in[2];
          for (std::int64_t c = 0; c < p.in_channels; ++c) {
            sum += w[to_size((q * p.kernel_volume() + k) * p.in_channels + c)] *
                   x[to_size(voxel * p.in_channels + c)];
          }
        }
        expected.push_back(sum);
      }
    }
  }
  std::vector<double> y(expected.size());
  cpu::conv3d_forward_naive(p, x.data(), w.data(), {}, y.data());
  CHECK(distance(y, expected) < 1e-14);
}

TEST_CASE("conv3d: two calls give the same bits", "[conv3d]") {
  const Conv3dParams p = params_of({4, 16, 16, {8, 8, 8}, kThree, kOne, kOne, kOne});
  for (const DType dtype : kFast) {
    const Operand x(p.batch * p.in_voxels() * p.in_channels, 1, dtype);
    const Operand gy(p.batch * p.out_voxels() * p.out_channels, 2, dtype);
    const Tensor first = Tensor::empty({p.weight_count()});
    const Tensor second = Tensor::empty({p.weight_count()});
    for (const Tensor& gw : {first, second}) {
      kernels::conv3d_grad_weight(
          kCpu, dtype, p, {.x = x.tensor.data(), .grad_y = gy.tensor.data(), .grad_weight = gw.data()});
    }
    CHECK(std::memcmp(first.data(), second.data(), to_size(first.count()) * 4) == 0);
  }
}

namespace {

OpCase conv_case(std::string name, const Shape& x, const Shape& w, const ops::Conv3dGeometry& geometry,
                 bool bias, bool residual, float scale, Activation activation) {
  OpCase c;
  c.name = std::move(name);
  c.inputs = {{x}, {w, true}};
  if (bias) c.inputs.push_back({{w[0]}, true});
  if (residual) {
    Conv3dParams p = params_of({x[0],
                                x[4],
                                w[0],
                                {x[1], x[2], x[3]},
                                {w[1], w[2], w[3]},
                                geometry.stride,
                                geometry.padding,
                                geometry.dilation});
    const auto o = p.out_extent();
    c.inputs.push_back({{x[0], o[0], o[1], o[2], w[0]}});
  }
  c.op = [=](Tape& tape, const std::vector<Tensor>& in) {
    ops::Conv3dFused fused;
    fused.scale = scale;
    fused.activation = activation;
    if (residual) fused.residual = in.back();
    return ops::conv3d(tape, in[0], in[1], bias ? in[2] : Tensor{}, geometry, fused);
  };
  return c;
}

constexpr Activation kRelu{ActivationKind::relu, 0};
constexpr Activation kLeaky{ActivationKind::leaky_relu, 0.2F};
constexpr Activation kSilu{ActivationKind::silu, 0};
constexpr Activation kTanh{ActivationKind::tanh, 0};

}  // namespace

TEST_CASE("conv3d: op", "[conv3d][device]") {
  const ops::Conv3dGeometry same{kOne, kOne, kOne};
  // Scales are powers of two: scaled weights stay exact in bf16, so that no sign before an activation is in
  // doubt.
  const OpCase cases[] = {
      conv_case("same", {2, 3, 4, 5, 3}, {8, 3, 3, 3, 3}, same, true, false, 1, {}),
      conv_case("without bias", {1, 3, 3, 3, 1}, {2, 3, 3, 3, 1}, same, false, false, 1, {}),
      conv_case("relu", {2, 3, 4, 3, 4}, {5, 3, 3, 3, 4}, same, true, false, 1, kRelu),
      conv_case("residual block", {2, 3, 3, 4, 4}, {4, 3, 3, 3, 4}, same, true, true, 0.125F, kLeaky),
      conv_case("stride 2", {1, 7, 5, 6, 3}, {4, 3, 3, 3, 3}, {kTwo, kOne, kOne}, true, false, 1, kLeaky),
      conv_case("dilation 2", {1, 5, 7, 6, 2}, {3, 3, 3, 3, 2}, {kOne, kTwo, kTwo}, true, false, 1, {}),
      conv_case("1×3×5", {2, 2, 5, 7, 3}, {3, 1, 3, 5, 3}, {kOne, {0, 1, 2}, kOne}, true, false, 1, {}),
      conv_case("1³", {2, 3, 2, 3, 5}, {3, 1, 1, 1, 5}, {}, true, false, 1, {}),
      conv_case("silu", {2, 3, 4, 3, 4}, {5, 3, 3, 3, 4}, same, true, false, 1, kSilu),
      conv_case("residual block, silu", {2, 3, 3, 4, 4}, {4, 3, 3, 3, 4}, same, true, true, 0.125F, kSilu),
      conv_case("tanh", {1, 3, 3, 3, 2}, {3, 3, 3, 3, 2}, same, true, false, 0.125F, kTanh),
  };
  for (const OpCase& c : cases) check(c);
}

TEST_CASE("conv_transpose3d: op", "[conv3d][conv_transpose3d][device]") {
  struct Case {
    const char* name;
    Shape x, w;
    ops::Conv3dGeometry geometry;
    Triple output_padding;
    Shape y;
  };
  const Case cases[] = {
      {"doubling", {2, 2, 3, 2, 4}, {4, 2, 2, 2, 3}, {kTwo, kNone, kOne}, kNone, {2, 4, 6, 4, 3}},
      {"output padding", {1, 2, 3, 4, 3}, {3, 3, 3, 3, 2}, {kTwo, kOne, kOne}, kOne, {1, 4, 6, 8, 2}},
      {"stride 1", {2, 3, 3, 3, 1}, {1, 3, 3, 3, 2}, {kOne, kOne, kOne}, kNone, {2, 3, 3, 3, 2}},
      {"mixed",
       {1, 2, 3, 3, 2},
       {2, 1, 3, 2, 3},
       {{1, 2, 3}, {0, 1, 0}, {1, 2, 1}},
       {0, 1, 2},
       {1, 2, 8, 10, 3}},
  };
  for (const Case& k : cases) {
    OpCase c;
    c.name = k.name;
    c.inputs = {{k.x}, {k.w, true}, {{k.w[4]}, true}};
    c.op = [&](Tape& tape, const std::vector<Tensor>& in) {
      const Tensor y = ops::conv_transpose3d(tape, in[0], in[1], in[2], k.geometry, k.output_padding);
      CHECK(y.shape() == k.y);
      return y;
    };
    check(c);
  }
}

TEST_CASE("conv_transpose3d: the adjoint of conv3d", "[conv3d][conv_transpose3d]") {
  // <conv(x), y> = <x, conv_transpose(y)> with the same weight, whose input channels are then the outputs.
  const ops::Conv3dGeometry geometry{kTwo, kOne, kOne};
  Tape tape;
  const auto random = [](const Shape& shape, std::uint64_t seed) {
    return Tensor::from(shape, std::span<const double>(test_values(shape.count(), Values::normal, seed)),
                        DType::f64);
  };
  const Tensor x = random({2, 6, 8, 4, 3}, 1);
  const Tensor w = random({5, 3, 3, 3, 3}, 2);
  const Tensor forward = ops::conv3d(tape, x, w, {}, geometry);
  const Tensor y = random(forward.shape(), 3);
  const Tensor back = ops::conv_transpose3d(tape, y, w, {}, geometry, kOne);
  REQUIRE(back.shape() == x.shape());
  const double left = ops::sum(tape, ops::mul(tape, forward, y)).item();
  CHECK(left == Approx(ops::sum(tape, ops::mul(tape, x, back)).item()).epsilon(1e-12));
  CHECK(std::abs(left) > 1);
}

TEST_CASE("linear: op", "[conv3d][linear][device]") {
  struct Case {
    std::int64_t rows, in, out;
    bool bias;
    Activation activation;
  };
  const Case cases[] = {
      {1, 1, 1, true, {}},     {7, 5, 3, true, {}},
      {4, 33, 31, false, {}},  {64, 16, 1, true, {}},
      {5, 6, 8, true, kRelu},  {5, 6, 8, true, kLeaky},
      {5, 6, 8, true, kTanh},  {5, 6, 8, true, kSilu},
      {7, 5, 3, false, kSilu}, {5, 6, 8, true, {ActivationKind::sigmoid, 0}},
  };
  for (const Case& k : cases) {
    OpCase c;
    c.name = fmt::format("{}×{} to {}", k.rows, k.in, k.out);
    c.inputs = {{{k.rows, k.in}}, {{k.out, k.in}, true}};
    if (k.bias) c.inputs.push_back({{k.out}, true});
    c.op = [&](Tape& tape, const std::vector<Tensor>& in) {
      return ops::linear(tape, in[0], in[1], k.bias ? in[2] : Tensor{}, k.activation);
    };
    check(c);
  }
}

TEST_CASE("conv3d: a bias alone can be trained", "[conv3d]") {
  // The weight frozen, the bias not: its gradient must not be lost.
  for (const DType dtype : {DType::f64, DType::f32}) {
    for (const bool flat : {false, true}) {
      Tape tape;
      const Shape x_shape = flat ? Shape{12, 3} : Shape{2, 1, 2, 3, 3};
      const Tensor x = Tensor::full(x_shape, 1, dtype);
      const Tensor w = Tensor::full(flat ? Shape{4, 3} : Shape{4, 1, 1, 1, 3}, 0.5, dtype);
      Tensor bias = Tensor::full({4}, 0, dtype);
      bias.require_gradient();
      ops::Conv3dFused fused;
      fused.scale = flat ? 1.0F : 0.5F;
      const Tensor y = flat ? ops::linear(tape, x, w, bias) : ops::conv3d(tape, x, w, bias, {}, fused);
      tape.backward(ops::sum(tape, y));
      const Tensor gradient = gradient_of(bias);
      REQUIRE(gradient.defined());
      CHECK(doubles(gradient) == std::vector<double>(4, flat ? 12.0 : 6.0));
    }
  }
}

TEST_CASE("conv3d: shapes that do not fit", "[conv3d]") {
  Tape tape;
  const Tensor x = Tensor::full({2, 4, 4, 4, 16}, 0);
  const auto conv = [&](const Shape& w, const Tensor& bias = {}, const ops::Conv3dFused& fused = {}) {
    return error_of([&] { ops::conv3d(tape, x, Tensor::full(w, 0), bias, {}, fused); });
  };
  CHECK(conv({8, 3, 3, 3, 32}) == "conv3d: weight has 32 input channels, input has 16 (input 2×4×4×4×16)");
  CHECK_THAT(conv({8, 5, 3, 3, 16}), Catch::Contains("does not fit"));
  CHECK_THAT(conv({8, 16}), Catch::Contains("weight"));
  CHECK_THAT(conv({8, 3, 3, 3, 16}, Tensor::full({4}, 0)), Catch::Contains("bias"));
  CHECK_THAT(conv({8, 3, 3, 3, 16}, Tensor::full({8}, 0, DType::f64)), Catch::Contains("fp64"));
  ops::Conv3dFused fused;
  fused.residual = Tensor::full({2, 4, 4, 4, 8}, 0);
  CHECK_THAT(conv({8, 3, 3, 3, 16}, {}, fused), Catch::Contains("residual"));
  CHECK_THAT(error_of([&] {
               ops::linear(tape, x, Tensor::full({8, 16}, 0), {});
             }),
             Catch::Contains("linear"));
  CHECK_THAT(
      error_of([&] {
        ops::conv_transpose3d(tape, x, Tensor::full({16, 2, 2, 2, 8}, 0), {}, {kTwo, kNone, kOne}, kTwo);
      }),
      Catch::Contains("output padding"));
}
