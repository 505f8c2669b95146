// The tape: what it records, what it frees, what frozen networks cost.
#include "engine/tape.h"

#include "engine/ops/activation.h"
#include "engine/ops/conv3d.h"
#include "engine/ops/normalisation.h"
#include "engine/ops/resample.h"
#include "kernels/conv3d.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"
#include "solvers/neural_ot.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

Tensor leaf(const Shape& shape, double value, DType dtype = DType::f64) {
  Tensor t = Tensor::full(shape, value, dtype);
  t.require_gradient();
  return t;
}

/// Counts the calls of the convolution kernels on the CPU while it lives.
class ConvolutionCalls {
 public:
  struct Counts {
    int forward = 0, grad_input = 0, grad_weight = 0;
  };

  ConvolutionCalls()
      : forward_(kernels::conv3d_forward),
        grad_input_(kernels::conv3d_grad_input),
        grad_weight_(kernels::conv3d_grad_weight) {
    current_ = this;
    kernels::conv3d_forward.implement(Device::cpu, [](const Stream& s, auto... args) {
      ++current_->counts.forward;
      current_->forward_(s, std::forward<decltype(args)>(args)...);
    });
    kernels::conv3d_grad_input.implement(Device::cpu, [](const Stream& s, auto... args) {
      ++current_->counts.grad_input;
      current_->grad_input_(s, std::forward<decltype(args)>(args)...);
    });
    kernels::conv3d_grad_weight.implement(Device::cpu, [](const Stream& s, auto... args) {
      ++current_->counts.grad_weight;
      current_->grad_weight_(s, std::forward<decltype(args)>(args)...);
    });
  }
  ~ConvolutionCalls() {
    kernels::conv3d_forward = forward_;
    kernels::conv3d_grad_input = grad_input_;
    kernels::conv3d_grad_weight = grad_weight_;
  }
  ConvolutionCalls(const ConvolutionCalls&) = delete;
  ConvolutionCalls& operator=(const ConvolutionCalls&) = delete;

  Counts counts;

 private:
  static inline ConvolutionCalls* current_ = nullptr;
  decltype(kernels::conv3d_forward) forward_;
  decltype(kernels::conv3d_grad_input) grad_input_;
  decltype(kernels::conv3d_grad_weight) grad_weight_;
};

/// Convolutions of a network: its parameters of rank 5.
int convolutions(const Parameters& parameters) {
  int count = 0;
  for (const NamedTensor& entry : parameters.named()) {
    count += entry.parameter && entry.tensor->shape().rank() == 5 ? 1 : 0;
  }
  return count;
}

struct Networks {
  Networks() {
    Initialiser first(Initialisation::pytorch_default, 1, 0);
    map.initialise(first);
    Initialiser second(Initialisation::pytorch_default, 1, 1);
    f.initialise(second);
  }
  static UNet3DOptions map_options() {
    UNet3DOptions options;
    options.base = 2;
    return options;
  }
  static ResNet3DOptions f_options() {
    ResNet3DOptions options;
    options.extent = {8, 8, 8};
    options.nf = 4;
    return options;
  }
  static Tensor volumes(std::uint64_t draw, std::int64_t count) {
    return Tensor::normal({count, 8, 8, 8, 3}, {5, Purpose::test, draw}, 0, 0.5);
  }
  UNet3D map{map_options()};
  ResNet3D f{f_options()};
  Parameters map_parameters{map};
  Parameters f_parameters{f};
};

}  // namespace

TEST_CASE("tape: a frozen network passes gradients on, gets none, and pays for none", "[tape]") {
  Networks n;
  ConvolutionCalls calls;
  Tape tape;
  {
    const Freeze frozen(n.f_parameters);
    const Tensor mapped = n.map.forward(tape, Networks::volumes(0, 2), {});
    tape.backward(ops::mean(tape, n.f.forward(tape, mapped)));
  }
  const int t = convolutions(n.map_parameters);
  const int f = convolutions(n.f_parameters) + 1;  // its linear layer is a convolution too
  CHECK(calls.counts.forward == t + f);
  CHECK(calls.counts.grad_weight == t);         // none for the frozen
  CHECK(calls.counts.grad_input == t - 1 + f);  // none for the volumes, which want none
  for (const NamedTensor& entry : n.f_parameters.named()) CHECK_FALSE(entry.tensor->gradient()->ready);
  for (const NamedTensor& entry : n.map_parameters.named()) {
    if (entry.parameter) CHECK(entry.tensor->gradient()->ready);
  }
  CHECK(norm(doubles(n.f_parameters.gradients())) == 0);
  CHECK(norm(doubles(n.map_parameters.gradients())) > 0);
}

TEST_CASE("tape: with everything frozen nothing is recorded", "[tape]") {
  Networks n;
  Tape tape;
  const Freeze frozen(n.f_parameters);
  const Tensor y = n.f.forward(tape, Networks::volumes(0, 1));
  CHECK(tape.size() == 0);
  CHECK_THAT(error_of([&] { tape.backward(ops::sum(tape, y)); }), Catch::Contains("not recorded"));
}

TEST_CASE("tape: Freeze restores training mode and gradients, also nested in NoRecord", "[tape]") {
  Networks n;
  Tape tape;
  {
    const NoRecord quiet(tape);
    const Freeze frozen(n.map_parameters, true);
    CHECK_FALSE(n.map.training());
    CHECK_FALSE(tape.recording());
    { const NoRecord inner(tape); }
    CHECK_FALSE(tape.recording());
    const auto before = state_dict(n.map);
    n.map.forward(tape, Networks::volumes(0, 2), {});
    CHECK(tape.size() == 0);
    // Evaluation mode leaves the running statistics alone.
    const auto after = state_dict(n.map);
    for (const auto& [name, array] : before) CHECK(same(array, after.at(name)));
  }
  CHECK(tape.recording());
  CHECK(n.map.training());
  n.map.forward(tape, Networks::volumes(0, 2), {});
  CHECK(tape.size() > 0);
}

TEST_CASE("tape: a nested Freeze leaves the outer one's network frozen", "[tape]") {
  Networks n;
  Tensor* const first = n.f_parameters.named().front().tensor;
  const auto wanted = [&](const Tensor* t) { return t->gradient()->required; };
  const auto any_wanted = [&] {
    return std::any_of(n.f_parameters.named().begin(), n.f_parameters.named().end(),
                       [&](const NamedTensor& entry) { return entry.parameter && wanted(entry.tensor); });
  };
  {
    const Freeze outer(n.f_parameters);
    {
      const Freeze inner(n.f_parameters, true);
      CHECK_FALSE(n.f.training());
    }
    CHECK(n.f.training());
    CHECK_FALSE(any_wanted());
    Tape tape;
    n.f.forward(tape, Networks::volumes(0, 1));
    CHECK(tape.size() == 0);
  }
  // A parameter that was frozen before stays frozen, the rest come back.
  first->gradient()->required = false;
  { const Freeze frozen(n.f_parameters); }
  CHECK_FALSE(wanted(first));
  for (const NamedTensor& entry : n.f_parameters.named())
    CHECK(wanted(entry.tensor) == (entry.tensor != first));
}

TEST_CASE("tape: evaluation mode ends part by part, also around and inside Freeze", "[tape]") {
  struct Pair : Module {
    Pair() {
      add(a, "a");
      add(b, "b");
    }
    Norm a{NormKind::batch, 2};
    Norm b{NormKind::batch, 2};
  } pair;
  Parameters parameters(pair);
  pair.b.set_training(false);
  {
    const EvaluationMode outer(pair);
    CHECK_FALSE((pair.training() || pair.a.training() || pair.b.training()));
    {
      const Freeze frozen(parameters, true);
      const EvaluationMode inner(pair);
    }
    CHECK_FALSE((pair.training() || pair.a.training() || pair.b.training()));
  }
  CHECK(pair.training());
  CHECK(pair.a.training());
  CHECK_FALSE(pair.b.training());
}

TEST_CASE("tape: saved values and inner gradients are freed as it unwinds", "[tape]") {
  release_cached_memory(Device::cpu);
  const std::size_t before = allocator_statistics(Device::cpu).in_use;
  {
    Tape tape;
    Tensor x = leaf({1 << 16}, 0.5);
    Tensor y = x.detached();
    y = ops::relu(tape, x);
    for (int i = 0; i < 20; ++i) y = ops::activation(tape, y, {ActivationKind::silu, 0});
    const Tensor loss = ops::sum(tape, y);
    const std::size_t forward = allocator_statistics(Device::cpu).in_use;
    CHECK(forward - before > 20 * (std::size_t{1} << 19));  // every layer is saved
    tape.backward(loss);
    y = {};
    // x, its gradient and the loss remain.
    CHECK(allocator_statistics(Device::cpu).in_use - before < 3 * (std::size_t{1} << 19));
  }
  CHECK(allocator_statistics(Device::cpu).in_use == before);
}

TEST_CASE("tape: gradients of shared memory are not mixed up", "[tape]") {
  // add() hands one gradient to both branches, reshape and cast hand theirs on; each then changes it in its
  // own way.
  OpCase c;
  c.name = "shared";
  c.inputs = {{{2, 6}, false, Values::away}, {{2, 6}, false, Values::away}};
  c.op = [](Tape& tape, const std::vector<Tensor>& in) {
    const Tensor a = ops::relu(tape, in[0]);
    const Tensor b = ops::activation(tape, in[1], {ActivationKind::tanh, 0});
    const Tensor s = ops::add(tape, a, b);
    const Tensor flat = ops::reshape(tape, s, {12});
    const Tensor again =
        ops::reshape(tape, ops::activation(tape, flat, {ActivationKind::sigmoid, 0}), {2, 6});
    const Tensor both = ops::add(tape, ops::add(tape, s, again), ops::add(tape, b, b));
    return ops::add(tape, both, ops::mul(tape, both, a));
  };
  c.bf16_limit = 3e-2;  // nine roundings in a row
  check(c);
}

TEST_CASE("tape: a residual that is also the input", "[tape]") {
  OpCase c;
  c.name = "y = leaky(x + conv(x))";
  c.inputs = {{{2, 3, 2, 3, 4}}, {{4, 3, 3, 3, 4}, true}, {{4}, true}};
  c.op = [](Tape& tape, const std::vector<Tensor>& in) {
    ops::Conv3dFused fused;
    fused.residual = in[0];
    fused.activation = {ActivationKind::leaky_relu, 0.2F};
    return ops::conv3d(tape, in[0], in[1], in[2], {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}}, fused);
  };
  check(c);
}

TEST_CASE("tape: gradients of leaves gather over several backward passes", "[tape]") {
  Tape tape;
  const Tensor x = leaf({3}, 2);
  for (int pass = 1; pass <= 3; ++pass) {
    tape.backward(ops::sum(tape, ops::mul(tape, x, x)));
    CHECK(doubles(gradient_of(x)) == std::vector<double>(3, 4.0 * pass));
  }
}

TEST_CASE("tape: the seed scales every gradient", "[tape]") {
  Tape tape;
  const Tensor x = leaf({2}, 3);
  tape.backward(ops::sum(tape, x), -0.5);
  CHECK(doubles(gradient_of(x)) == std::vector<double>(2, -0.5));
}

TEST_CASE("tape: backward refuses what it cannot do", "[tape]") {
  Tape tape;
  const Tensor x = leaf({3}, 2);
  const Tensor y = ops::mul(tape, x, x);
  CHECK_THAT(error_of([&] { tape.backward(y); }), Catch::Contains("shape 3"));
  const Tensor loss = ops::sum(tape, y);
  tape.backward(loss);
  const std::vector<double> once = doubles(gradient_of(x));
  CHECK(once == std::vector<double>(3, 4.0));
  CHECK_THAT(error_of([&] { tape.backward(loss); }), Catch::Contains("already"));
  CHECK(doubles(gradient_of(x)) == once);
  // A leaf, and a loss of another tape.
  CHECK_THAT(error_of([&] { tape.backward(leaf({1}, 1)); }), Catch::Contains("not recorded"));
  Tape other;
  const Tensor elsewhere = ops::sum(other, x);
  CHECK_THAT(error_of([&] { tape.backward(elsewhere); }), Catch::Contains("not recorded"));
  other.backward(elsewhere);
}

TEST_CASE("tape: branches that do not reach the loss cost and give nothing", "[tape]") {
  Tape tape;
  const Tensor x = leaf({3}, 2);
  const Tensor unused = leaf({3}, 1);
  ops::mul(tape, unused, x);
  tape.backward(ops::sum(tape, x));
  CHECK_FALSE(gradient_of(unused).defined());
  CHECK(doubles(gradient_of(x)) == std::vector<double>(3, 1.0));
  CHECK(tape.size() == 0);
}

TEST_CASE("tape: a hundred thousand nodes in a row do not overflow the stack", "[tape]") {
  const int depth = 100000;
  Tape tape;
  const Tensor x = leaf({2}, 1);
  Tensor y = x;
  for (int i = 0; i < depth; ++i) y = ops::scale(tape, y, i % 2 == 0 ? 2 : 0.5);
  CHECK(tape.size() == depth);
  const Tensor loss = ops::sum(tape, y);
  y = {};
  tape.backward(loss);
  CHECK(doubles(gradient_of(x)) == std::vector<double>(2, 1.0));
  // And thrown away without a backward pass.
  y = x;
  for (int i = 0; i < depth; ++i) y = ops::scale(tape, y, 1);
  tape.clear();
  CHECK(tape.size() == 0);
}

TEST_CASE("tape: a steady-state step asks the system for no memory", "[tape][neural_ot]") {
  const bool weak = GENERATE(false, true);
  UNet3DOptions map_options = Networks::map_options();
  map_options.noise_channels = weak ? 1 : 0;
  const auto map = make_trainable<UNet3D>(map_options);
  const auto f = make_trainable<ResNet3D>(Networks::f_options());
  Initialiser initialiser(Initialisation::pytorch_default, 1, 0);
  map->initialise(initialiser);
  f->initialise(initialiser);
  std::shared_ptr<const Cost> cost = std::make_shared<QuadraticCost>();
  if (weak) cost = std::make_shared<WeakQuadraticCost>();
  NeuralOtOptions options;
  options.inner_steps = 2;
  options.batch_size = 2;
  options.noise_samples = weak ? 2 : 1;
  options.ema = 0.99;
  OptimizerOptions adam;
  adam.clip_norm = 1;
  NeuralOt solver(options,
                  {map, f, cost, adam, adam, Networks::volumes,
                   [](std::uint64_t draw, std::int64_t n) { return Networks::volumes(draw + 1000, n); }});
  for (int s = 0; s < 3; ++s) solver.step();
  const AllocatorStatistics steady = allocator_statistics(Device::cpu);
  for (int s = 3; s < 10; ++s) solver.step();
  const AllocatorStatistics after = allocator_statistics(Device::cpu);
  CHECK(after.system_allocations == steady.system_allocations);
  CHECK(after.in_use == steady.in_use);
  CHECK(after.held == steady.held);
}
