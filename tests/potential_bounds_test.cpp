// What keeps a potential in bounds, inside the solver: spectral normalisation and the drift penalty.
#include "models/mlp.h"
#include "solvers/neural_ot.h"
#include "tests/golden.h"

using namespace voxot;
using namespace voxot::test;

namespace {

constexpr std::int64_t kBatch = 6;
constexpr std::int64_t kDimensions = 3;

Tensor points(std::uint64_t draw, double mean) {
  return Tensor::normal({kBatch, 1, 1, 1, kDimensions}, {8, Purpose::test, draw}, mean, 1);
}

OptimizerOptions descent() {
  OptimizerOptions o;
  o.params.kind = OptimizerKind::sgd;
  o.params.weight_decay = 0;
  o.learning_rate = 1;
  return o;
}

struct Problem {
  Problem(const NeuralOtOptions& options, const std::vector<std::int64_t>& hidden, bool spectral)
      : map(make_trainable<MlpMap>(mlp({}, false))),
        f(make_trainable<MlpPotential>(mlp(hidden, spectral))),
        solver(options, {map, f, std::make_shared<QuadraticCost>(), descent(), descent(),
                         [](std::uint64_t draw, std::int64_t) { return points(2 * draw, 0); },
                         [](std::uint64_t draw, std::int64_t) { return points(2 * draw + 1, 1); }}) {
    Initialiser first(Initialisation::pytorch_default, 1, 0);
    map->initialise(first);
    Initialiser second(Initialisation::pytorch_default, 1, 1);
    f->initialise(second);
  }
  static MlpOptions mlp(const std::vector<std::int64_t>& hidden, bool spectral) {
    MlpOptions o;
    o.volume = {1, 1, 1, kDimensions};
    o.hidden = hidden;
    o.activation = {ActivationKind::tanh, 0};
    o.spectral_normalisation = spectral;
    return o;
  }

  Trainable<MlpMap> map;
  Trainable<MlpPotential> f;
  NeuralOt solver;
};

NeuralOtOptions options_of(double gradient_penalty, double drift_penalty) {
  NeuralOtOptions o;
  o.inner_steps = 1;
  o.batch_size = kBatch;
  o.gradient_penalty = gradient_penalty;
  o.drift_penalty = drift_penalty;
  return o;
}

/// What a potential step takes from the weights at rate 1: by name.
std::map<std::string, std::vector<double>> gradient_of_step(Problem& p, const Tensor& x, const Tensor& y) {
  const auto before = state_dict(*p.f);
  p.solver.potential_step(x, y, 0);
  std::map<std::string, std::vector<double>> gradient;
  for (const auto& [name, after] : state_dict(*p.f)) {
    gradient[name] = doubles(before.at(name));
    const std::vector<double> now = doubles(after);
    for (std::size_t i = 0; i < now.size(); ++i) gradient[name][i] -= now[i];
  }
  return gradient;
}

}  // namespace

TEST_CASE("potential bounds: the drift penalty's gradient, by hand", "[potential_bounds][neural_ot]") {
  const double epsilon = 0.7;
  Problem p(options_of(0, epsilon), {}, false);  // f(y) = ⟨w, y⟩ + b
  const Tensor x = points(100, 0);
  const Tensor y = points(101, 1);
  const std::vector<double> w = doubles(state_dict(*p.f).at("mlp.layers.0.weight"));
  const double b = doubles(state_dict(*p.f).at("mlp.layers.0.bias"))[0];
  std::array<double, kDimensions> of_w{};
  double of_b = 0;
  for (const auto& [batch, sign] :
       {std::pair(p.solver.capabilities().transport->apply(x, {}), 1.0), std::pair(y, -1.0)}) {
    const std::vector<double> v = doubles(batch);
    for (std::size_t i = 0; i < kBatch; ++i) {
      double f = b;
      for (std::size_t d = 0; d < kDimensions; ++d) f += w[d] * v[i * kDimensions + d];
      // ± mean f + ε·½·mean f²
      const double weight = (sign + epsilon * f) / kBatch;
      for (std::size_t d = 0; d < kDimensions; ++d) of_w[d] += weight * v[i * kDimensions + d];
      of_b += weight;
    }
  }
  const auto gradient = gradient_of_step(p, x, y);
  CHECK(distance(gradient.at("mlp.layers.0.weight"), of_w) < 1e-5);  // fp32
  CHECK(gradient.at("mlp.layers.0.bias")[0] == Approx(of_b).epsilon(1e-5));
  CHECK(std::abs(of_b) > 0.05);  // without the penalty the bias has no gradient
}

TEST_CASE("potential bounds: drift beside a gradient penalty adds what it adds alone",
          "[potential_bounds][neural_ot]") {
  // A linear f has the mean square at y ± η·δ of that at y, but for (η·⟨w, δ⟩)², a constant. Half of each
  // batch is looked at, so both halves are alike.
  const auto twice = [](const Tensor& t) {
    const Tensor all = t.clone();
    const std::int64_t half = t.count() / 2;
    all.window(half, {half}).copy_from(t.window(0, {half}));
    return all;
  };
  const Tensor x = twice(points(100, 0));
  const Tensor y = twice(points(101, 1));
  const auto bias_gradient = [&](double gradient_penalty) {
    Problem p(options_of(gradient_penalty, 0.7), {}, false);
    return gradient_of_step(p, x, y).at("mlp.layers.0.bias")[0];
  };
  const double alone = bias_gradient(0);
  CHECK(std::abs(alone) > 0.05);
  CHECK(bias_gradient(0.1) == Approx(alone).epsilon(1e-5));
}

TEST_CASE("potential bounds: the loss that is told has no penalty in it", "[potential_bounds][neural_ot]") {
  const Tensor x = points(100, 0);
  const Tensor y = points(101, 1);
  Problem plain(options_of(0, 0), {8}, false);
  Problem drift(options_of(0, 5), {8}, false);
  CHECK(drift.solver.potential_step(x, y, 0) == plain.solver.potential_step(x, y, 0));
}

TEST_CASE("potential bounds: one power iteration a potential step, none in a transport step or a map",
          "[potential_bounds][spectral_norm][neural_ot]") {
  const double penalty = GENERATE(0.0, 0.1);  // with one, six forwards
  Problem p(options_of(penalty, 0), {8, 5}, true);
  Problem by_hand(options_of(0, 0), {8, 5}, true);
  const auto vectors = [](const Module& f) {
    std::map<std::string, std::vector<std::byte>> found;
    for (const auto& [name, array] : state_dict(f)) {
      if (name.ends_with("_u") || name.ends_with("_v")) found[name] = array.bytes;
    }
    return found;
  };
  const auto before = vectors(*p.f);
  REQUIRE(before.size() == 6);
  p.solver.transport_step(points(1, 0), 1);
  (void)p.solver.capabilities().transport->apply(points(2, 0), {});
  CHECK(vectors(*p.f) == before);
  p.solver.potential_step(points(3, 0), points(4, 1), 2);
  by_hand.f->iterate_spectra();
  CHECK(vectors(*p.f) == vectors(*by_hand.f));
  CHECK(vectors(*p.f) != before);
}

TEST_CASE("potential bounds: saved and loaded, a bounded potential goes on with the same bits",
          "[potential_bounds][spectral_norm][neural_ot]") {
  const NeuralOtOptions options = options_of(0.1, 0.01);
  Problem straight(options, {8}, true);
  for (int s = 0; s < 3; ++s) straight.solver.step();
  std::map<std::string, HostArray> arrays;
  straight.solver.save(arrays);
  Problem resumed(options, {8}, true);
  load_state_dict(*resumed.map, state_dict(*straight.map), "checkpoint");
  load_state_dict(*resumed.f, state_dict(*straight.f), "checkpoint");
  resumed.solver.load(arrays);
  for (int s = 0; s < 3; ++s) {
    const NeuralOtLosses a = straight.solver.step();
    const NeuralOtLosses b = resumed.solver.step();
    CHECK(a.transport == b.transport);
    CHECK(a.potential == b.potential);
    CHECK(a.slope == b.slope);
  }
  CHECK(straight.f.parameters().values().to_floats() == resumed.f.parameters().values().to_floats());
}
