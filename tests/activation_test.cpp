// Activations and PReLU.
#include "engine/ops/activation.h"

#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

const std::pair<const char*, Activation> kKinds[] = {
    {"none", {ActivationKind::none, 0}},
    {"relu", {ActivationKind::relu, 0}},
    {"leaky_relu", {ActivationKind::leaky_relu, 0.2F}},
    {"silu", {ActivationKind::silu, 0}},
    {"tanh", {ActivationKind::tanh, 0}},
    {"sigmoid", {ActivationKind::sigmoid, 0}},
    {"softplus", {ActivationKind::softplus, 0}},
};

}  // namespace

TEST_CASE("activation: every kind", "[activation][device]") {
  for (const auto& [name, act] : kKinds) {
    // The second is beyond the size from which threads share the work.
    for (const Shape& shape : {Shape{2, 3, 1, 5, 3}, Shape{3, 3001}, Shape{1}}) {
      OpCase c;
      c.name = fmt::format("{} {}", name, shape.text());
      c.inputs = {{shape, false, Values::away}};
      c.op = [act = act](Tape& tape, const std::vector<Tensor>& in) {
        return ops::activation(tape, in[0], act);
      };
      // The derivative of tanh and sigmoid is computed from y, which bf16 has rounded: 1 − y² doubles its
      // error.
      c.bf16_limit = 2e-2;
      check(c);
    }
  }
}

TEST_CASE("activation: prelu with one slope and with one for each channel", "[activation][device]") {
  for (const std::int64_t slopes : {1, 5}) {
    OpCase c;
    c.name = fmt::format("{} slopes", slopes);
    c.inputs = {{{2, 3, 2, 3, 5}, false, Values::away}, {{slopes}, true, Values::away}};
    c.op = [](Tape& tape, const std::vector<Tensor>& in) { return ops::prelu(tape, in[0], in[1]); };
    check(c);
  }
  // Rows enough for several partial sums of a slope's gradient; 8 channels are whole vectors.
  for (const auto& [channels, slopes] : {std::pair<std::int64_t, std::int64_t>{5, 5}, {8, 8}, {5, 1}}) {
    OpCase c;
    c.name = fmt::format("{} slopes, many rows of {}", slopes, channels);
    c.inputs = {{{3, 1367, channels}, false, Values::away}, {{slopes}, true, Values::away}};
    c.op = [](Tape& tape, const std::vector<Tensor>& in) { return ops::prelu(tape, in[0], in[1]); };
    check(c);
  }
  Tape tape;
  const Tensor x = Tensor::full({2, 5}, 1);
  CHECK_THAT(error_of([&] { ops::prelu(tape, x, Tensor::full({3}, 1)); }),
             Catch::Contains("3 slopes for 5 channels"));
}

TEST_CASE("activation: in chains, where gradients are written in place", "[activation][device]") {
  OpCase c;
  c.name = "chain";
  c.inputs = {{{2, 3, 2, 3, 3}, false, Values::away}};
  c.op = [](Tape& tape, const std::vector<Tensor>& in) {
    const Tensor a = ops::activation(tape, in[0], {ActivationKind::tanh, 0});
    const Tensor b = ops::activation(tape, a, {ActivationKind::leaky_relu, 0.5F});
    // `a` is used a second time, so its gradient must not be taken over by the first.
    return ops::add(tape, ops::activation(tape, b, {ActivationKind::silu, 0}), ops::mul(tape, a, b));
  };
  check(c);
}

TEST_CASE("activation: far from zero values stay finite", "[activation][device]") {
  const Device device = GENERATE(from_range(devices()));
  const std::vector<double> far{-1e4, -200, -100, -30, 0, 30, 100, 200, 1e4};
  for (const auto& [name, act] : kKinds) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      INFO(name << " " << name_of(dtype) << " on " << name_of(device));
      Tape tape;
      Tensor x = Tensor::from({9}, std::span<const double>(far), dtype, device);
      x.require_gradient();
      const Tensor y = ops::activation(tape, x, act);
      const std::vector<double> values = doubles(y);
      tape.backward(ops::sum(tape, y));
      const std::vector<double> gradient = doubles(gradient_of(x));
      for (std::size_t i = 0; i < far.size(); ++i) {
        CHECK(std::isfinite(values[i]));
        CHECK(std::isfinite(gradient[i]));
      }
      // On the far right everything but the two that saturate is the identity.
      const bool saturates = act.kind == ActivationKind::tanh || act.kind == ActivationKind::sigmoid;
      CHECK(values.back() == Approx(saturates ? 1 : 1e4));
      CHECK(gradient.back() == Approx(saturates ? 0 : 1).margin(1e-12));
    }
  }
}

TEST_CASE("activation: relu and its kin at NaN and infinity, as PyTorch", "[activation][device]") {
  const Device device = GENERATE(from_range(devices()));
  const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  const double inf = INFINITY;
  // torch.relu and torch.nn.functional.leaky_relu(x, 0.25) of x, and their gradients where y's is `grad`.
  const std::vector<double> x{NAN, -inf, inf, -1, 0, 2, -1, NAN};
  const std::vector<double> grad{3, 1, 1, inf, NAN, 1, NAN, NAN};
  const std::vector<double> relu{NAN, 0, inf, 0, 0, 2, 0, NAN};
  const std::vector<double> relu_grad{3, 0, 1, 0, 0, 1, 0, NAN};
  const std::vector<double> leaky{NAN, -inf, inf, -0.25, 0, 2, -0.25, NAN};
  const std::vector<double> leaky_grad{0.75, 0.25, 1, inf, NAN, 1, NAN, NAN};
  // The long one fills vectors and threads.
  for (const std::int64_t repeats : {1, 2003}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
      const auto tensor = [&](const std::vector<double>& values) {
        std::vector<double> all;
        for (std::int64_t r = 0; r < repeats; ++r) all.insert(all.end(), values.begin(), values.end());
        return Tensor::from({repeats, 8}, std::span<const double>(all), dtype, device);
      };
      for (const bool leaks : {false, true}) {
        INFO(name_of(dtype) << " on " << name_of(device) << (leaks ? ", leaky" : ", relu"));
        const Activation act{leaks ? ActivationKind::leaky_relu : ActivationKind::relu, leaks ? 0.25F : 0};
        const Tensor in = tensor(x);
        const Tensor g = tensor(grad);
        const Tensor y = Tensor::empty(in.shape(), dtype, device);
        const Tensor gx = Tensor::empty(in.shape(), dtype, device);
        kernels::activation_forward(in.stream(), dtype, act, in.count(), in.data(), y.data());
        kernels::activation_backward(in.stream(), dtype,
                                     {.activation = act,
                                      .count = in.count(),
                                      .saved = y.data(),
                                      .grad_y = g.data(),
                                      .grad_x = gx.data()});
        const std::vector<double> expected = doubles(tensor(leaks ? leaky : relu));
        const std::vector<double> expected_grad = doubles(tensor(leaks ? leaky_grad : relu_grad));
        CHECK(std::ranges::equal(doubles(y), expected, same));
        CHECK(std::ranges::equal(doubles(gx), expected_grad, same));
      }
    }
  }
}

TEST_CASE("activation: prelu's slope and input at NaN, as PyTorch", "[activation][device]") {
  const Device device = GENERATE(from_range(devices()));
  Tape tape;
  Tensor x = Tensor::from({3, 2}, std::span<const double>(std::vector<double>{NAN, 1, -2, 3, 4, NAN}),
                          DType::f32, device);
  Tensor slope =
      Tensor::from({2}, std::span<const double>(std::vector<double>{0.25, 0.5}), DType::f32, device);
  x.require_gradient();
  slope.require_gradient();
  const Tensor y = ops::prelu(tape, x, slope);
  tape.backward(ops::sum(tape, y));
  const std::vector<double> out = doubles(y);
  CHECK((std::isnan(out[0]) && std::isnan(out[5])));
  CHECK((out[1] == 1 && out[2] == -0.5 && out[3] == 3 && out[4] == 4));
  for (const double v : doubles(gradient_of(slope))) CHECK(std::isnan(v));
  CHECK(doubles(gradient_of(x)) == std::vector<double>{0.25, 1, 0.25, 1, 1, 0.5});
}
