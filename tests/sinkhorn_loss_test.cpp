// Transport values and divergences as losses: gradients by differences, POT's through PyTorch, and what a
// divergence promises.
#include "solvers/sinkhorn_loss.h"

#include "engine/ops/pairwise_cost.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

SinkhornOptions tight(DType dtype, double epsilon) {
  SinkhornOptions o;
  o.epsilon = epsilon;
  // The envelope's gradients are as exact as the potentials.
  o.tolerance = dtype == DType::f64 ? 1e-10 : 1e-6;
  o.max_iterations = 100000;
  o.over_relaxation = 1.4;
  return o;
}

}  // namespace

TEST_CASE("sinkhorn loss: gradients", "[sinkhorn]") {
  for (const bool relaxed : {false, true}) {
    const auto options = [relaxed](DType dtype) {
      SinkhornOptions o = tight(dtype, 4);
      if (relaxed) {
        o.over_relaxation = 1;
        o.rho_a = o.rho_b = 2;
      }
      return o;
    };
    OpCase value;
    value.name = relaxed ? "relaxed value" : "value";
    value.inputs = {{{5, 7}}, {{5}, true, Values::positive}, {{7}, true, Values::positive}};
    value.op = [options](Tape& tape, const std::vector<Tensor>& in) {
      return sinkhorn_value(tape, in[0], options(in[0].dtype()), {in[1], in[2]});
    };
    value.bf16 = false;
    value.refuses_nan = true;
    value.device_limit = 1e-8;  // either stops at a marginal error of 1e-10
    value.fp32_limit = 1e-4;    // the tolerance, times the condition of the potentials
    for (const Device device : devices()) check(value, device);

    OpCase divergence;
    divergence.name = relaxed ? "relaxed divergence" : "divergence";
    divergence.inputs = {{{6, 3}}, {{4, 3}}, {{6}, true, Values::positive}, {{4}, true, Values::positive}};
    divergence.op = [options](Tape& tape, const std::vector<Tensor>& in) {
      return sinkhorn_divergence(tape, in[0], in[1], GroundCost::squared_euclidean, options(in[0].dtype()),
                                 {in[2], in[3]});
    };
    divergence.bf16 = false;
    divergence.refuses_nan = true;
    divergence.device_limit = 1e-8;
    divergence.fp32_limit = 1e-4;
    for (const Device device : devices()) check(divergence, device);
  }
}

TEST_CASE("goldens: sinkhorn divergence", "[goldens][sinkhorn]") {
  const Golden g("sinkhorn");
  for (const DType dtype : {DType::f64, DType::f32}) {
    std::vector<Tensor> in;
    for (const char* name : {"x", "y", "a", "b"}) {
      in.push_back(g.plain(std::string("divergence.") + name, dtype));
      in.back().require_gradient();
    }
    Tape tape;
    const Tensor loss = sinkhorn_divergence(tape, in[0], in[1], GroundCost::squared_euclidean,
                                            tight(dtype, g.number("divergence.epsilon")), {in[2], in[3]});
    CHECK(loss.item() == Approx(g.number("divergence.value")).epsilon(dtype == DType::f64 ? 1e-7 : 1e-5));
    tape.backward(loss);
    std::size_t i = 0;
    for (const char* name : {"grad_x", "grad_y", "grad_a", "grad_b"}) {
      INFO(name << " in " << name_of(dtype));
      // POT stops at 1e-10 itself.
      CHECK(distance(doubles(gradient_of(in[i++])), g.values(std::string("divergence.") + name)) <
            (dtype == DType::f64 ? 1e-6 : 1e-4));
    }
  }
}

TEST_CASE("sinkhorn loss: a divergence is positive, and 0 for equal measures", "[sinkhorn]") {
  Tape tape;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Tensor x = Tensor::normal({9, 2}, {seed, Purpose::test, 0}, 0, 1, DType::f64);
    const Tensor y = Tensor::normal({7, 2}, {seed, Purpose::test, 1}, 0, 1, DType::f64);
    const SinkhornOptions o = tight(DType::f64, 1);
    CHECK(sinkhorn_divergence(tape, x, y, GroundCost::squared_euclidean, o).item() > 0);
    x.require_gradient();
    const Tensor zero = sinkhorn_divergence(tape, x, x.detached(), GroundCost::squared_euclidean, o);
    CHECK(std::abs(zero.item()) < 1e-9);
    tape.backward(zero);
    CHECK(norm(doubles(gradient_of(x))) < 1e-8);
  }
  CHECK(tape.size() == 0);
}

TEST_CASE("sinkhorn loss: values and gradients lie where the points do", "[sinkhorn]") {
  for (const Device device : devices()) {
    INFO(name_of(device));
    Tensor x = Tensor::normal({9, 2}, {1, Purpose::test, 0}, 0, 1).to(device);
    const Tensor y = Tensor::normal({7, 2}, {1, Purpose::test, 1}, 0, 1).to(device);
    Tensor w = Tensor::full({9}, 0.2, DType::f32, device);
    x.require_gradient();
    w.require_gradient();
    Tape tape;
    const Tensor loss =
        sinkhorn_divergence(tape, x, y, GroundCost::squared_euclidean, tight(DType::f32, 1), {w, {}});
    CHECK(loss.device() == device);
    tape.backward(loss);
    CHECK(gradient_of(x).device() == device);
    CHECK(gradient_of(w).device() == device);
    if (device == Device::cpu) continue;
    CHECK_THAT(
        error_of([&] {
          sinkhorn_value(tape, Tensor::full({3, 4}, 1, DType::f32, device), {}, {Tensor::full({3}, 1), {}});
        }),
        Catch::Contains("source weights 3 fp32 on cpu for costs 3×4 fp32 on cuda"));
  }
}

TEST_CASE("sinkhorn loss: refuses what has no gradient", "[sinkhorn]") {
  Tape tape;
  const Tensor x = Tensor::normal({9, 2}, {1, Purpose::test, 0}, 0, 1);
  const Tensor y = Tensor::normal({9, 2}, {1, Purpose::test, 1}, 0, 1);
  SinkhornOptions o = tight(DType::f32, 1e-3);
  o.max_iterations = 2;
  CHECK_THAT(error_of([&] { sinkhorn_divergence(tape, x, y, GroundCost::squared_euclidean, o); }),
             Catch::Contains("after 2 iterations; expected at most"));
  o.over_relaxation = 1;
  o.rho_a = 1;
  CHECK_THAT(error_of([&] { sinkhorn_divergence(tape, x, x, GroundCost::squared_euclidean, o); }),
             Catch::Contains("rho is 1 and inf"));
  CHECK_THAT(error_of([&] {
               sinkhorn_value(tape, Tensor::full({3, 4}, 1), {}, {Tensor::full({4}, 1), {}});
             }),
             Catch::Contains("source weights 4 fp32"));
}
