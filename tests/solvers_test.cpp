// Costs, the γ schedule, metrics, and strong neural OT on a problem with a known map.

#include "engine/ops/reduction.h"
#include "kernels/sizes.h"
#include "models/mlp.h"
#include "solvers/costs.h"
#include "solvers/metrics.h"
#include "solvers/neural_ot.h"
#include "tests/one_thread.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

Tensor tensor(const Shape& shape, const std::vector<double>& values, DType dtype = DType::f64) {
  return Tensor::from(shape, std::span<const double>(values), dtype);
}

constexpr RandomState kState{11, Purpose::test, 0};

}  // namespace

TEST_CASE("costs: quadratic", "[solvers][costs][device]") {
  OpCase c;
  c.name = "quadratic";
  c.inputs = {{{3, 1, 2, 2, 2}}, {{3, 1, 2, 2, 2}}};
  c.op = [](Tape& tape, const std::vector<Tensor>& in) { return QuadraticCost()(tape, in[0], in[1], 0); };
  check(c);
  Tape tape;
  const Tensor x = tensor({2, 2}, {0, 0, 1, 1});
  CHECK(QuadraticCost()(tape, x, tensor({2, 2}, {1, 0, 1, 4}), 0).item() == Approx(2.5));  // no ½
}

TEST_CASE("costs: weak, by hand", "[solvers][costs]") {
  // x = (1, 2); copies (0, 4), (2, 2), (1, 6): means (1, 4), unbiased variances (1, 4).
  Tape tape;
  const Tensor x = tensor({2, 1}, {1, 2});
  const Tensor mapped = tensor({6, 1}, {0, 4, 2, 2, 1, 6});
  for (const double gamma : {0.0, 0.25, 1.0}) {
    const double expected = (0.0 + 4.0) / 2 + (1 - gamma - 1.0 / 3) * (1.0 + 4.0) / 2;
    CHECK(WeakQuadraticCost()(tape, x, mapped, gamma).item() == Approx(expected));
  }
  CHECK_THAT(error_of([&] { WeakQuadraticCost()(tape, x, x, 0); }), Catch::Contains("two whole copies"));
  CHECK_THAT(error_of([&] {
               WeakQuadraticCost()(tape, x, tensor({5, 1}, {1, 2, 3, 4, 5}), 0);
             }),
             Catch::Contains("5 mapped values"));
}

TEST_CASE("costs: weak, gradient", "[solvers][costs][device]") {
  for (const double gamma : {0.0, 0.5, 1.0}) {
    OpCase c;
    c.name = fmt::format("gamma {}", gamma);
    c.inputs = {{{2, 1, 2, 1, 3}}, {{8, 1, 2, 1, 3}}};
    c.op = [=](Tape& tape, const std::vector<Tensor>& in) {
      return WeakQuadraticCost()(tape, in[0], in[1], gamma);
    };
    // bf16 rounds the mean over the copies before it is compared with x.
    c.bf16_limit = 3e-2;
    check(c);
  }
}

TEST_CASE("costs: the weak cost's correction makes its mean independent of the number of copies",
          "[solvers][costs]") {
  // E (x − T̄)² over Z copies holds Var/Z too much; over many draws the cost must tend to (x − E T)² + (1 −
  // γ)·Var.
  Tape tape;
  const double gamma = 0.4;
  for (const std::int64_t copies : {2, 4}) {
    const std::int64_t samples = 100000;
    const Tensor x = Tensor::full({samples, 1}, 1, DType::f64);
    const Tensor mapped = Tensor::normal({samples * copies, 1}, kState, 3, 2, DType::f64);
    // Deviation of the mean: about √(Var) · 6/√1e5 ≈ 0.05.
    CHECK(WeakQuadraticCost()(tape, x, mapped, gamma).item() == Approx(4 + 0.6 * 4).margin(0.15));
  }
}

TEST_CASE("metrics: costs of pairings", "[solvers][metrics]") {
  const Tensor a = Tensor::normal({40, 1, 2, 2, 3}, kState, 0, 1);
  const Tensor b = Tensor::normal({40, 1, 2, 2, 3}, {12, Purpose::test, 0}, 0.5, 1);
  const double paired = paired_cost(a, b);
  const double discrete = discrete_cost(a, b);
  CHECK(discrete < paired);
  CHECK(discrete > 0);
  CHECK(paired_cost(a, a) == 0);
  CHECK(paired_cost(tensor({2, 2}, {0, 0, 1, 1}), tensor({2, 2}, {1, 0, 1, 4})) == Approx(2.5));
  // A shuffled copy costs nothing, and a shifted one exactly the shift.
  std::vector<double> values = doubles(a);
  std::rotate(values.begin(), values.begin() + 12 * 7, values.end());
  const Tensor shuffled = tensor(a.shape(), values);
  CHECK(discrete_cost(a, shuffled) == Approx(0).margin(1e-12));
  CHECK(paired_cost(a, shuffled) > 0.5);
  for (double& v : values) v += 2;
  CHECK(discrete_cost(a, tensor(a.shape(), values)) == Approx(4).epsilon(1e-5));
  CHECK_THAT(error_of([&] {
               paired_cost(a, b.window(0, {39, 1, 2, 2, 3}));
             }),
             Catch::Contains("40×1×2×2×3 with 39"));
}

TEST_CASE("metrics: Fréchet distance of Gaussians in closed form", "[solvers][metrics]") {
  // Columns of ±s (each half of the rows) have mean 0, variance s²·n/(n − 1), and no covariance when the
  // signs are orthogonal; so the distance is ‖m‖² + Σ (s₁ − s₂)²·n/(n − 1).
  const std::vector<double> scale_a{1, 2, 0.5};
  const std::vector<double> scale_b{3, 2, 0};
  const std::vector<double> shift{1, -2, 0.25};
  std::vector<double> a;
  std::vector<double> b;
  const double n = 16;
  for (int i = 0; i < 16; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      const double sign = (i >> c & 1) != 0 ? 1 : -1;
      a.push_back(sign * scale_a[c]);
      b.push_back(sign * scale_b[c] + shift[c]);
    }
  }
  const double expected = 1 + 4 + 0.0625 + (4 + 0 + 0.25) * n / (n - 1);
  CHECK(frechet_distance(tensor({16, 3}, a), tensor({16, 3}, b)) == Approx(expected).epsilon(1e-9));
  CHECK(frechet_distance(tensor({16, 3}, a), tensor({16, 3}, a)) == Approx(0).margin(1e-9));
  CHECK_THAT(error_of([&] {
               frechet_distance(tensor({1, 3}, {1, 2, 3}), tensor({16, 3}, a));
             }),
             Catch::Contains("two rows"));
}

TEST_CASE("metrics: Fréchet distance does not depend on the basis", "[solvers][metrics]") {
  // A rotation mixes the axes, so covariances are full; the distance stays.
  const Tensor a = Tensor::normal({500, 4}, kState, 0, 1);
  std::vector<double> values = doubles(Tensor::normal({500, 4}, {13, Purpose::test, 0}, 0, 1));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = values[i] * (1 + 0.5 * static_cast<double>(i % 4)) + 0.3;
  const Tensor b = tensor({500, 4}, values);
  const auto rotated = [](const Tensor& t) {
    std::vector<double> v = doubles(t);
    for (std::size_t r = 0; r < v.size(); r += 4) {
      for (const auto& [i, j, angle] : {std::tuple{0, 1, 0.5}, {1, 2, 1.1}, {2, 3, 0.7}, {0, 3, 2.0}}) {
        double& x = v[r + to_size(i)];
        double& y = v[r + to_size(j)];
        const double x0 = x;
        x = std::cos(angle) * x0 - std::sin(angle) * y;
        y = std::sin(angle) * x0 + std::cos(angle) * y;
      }
    }
    return tensor(t.shape(), v);
  };
  const double distance_before = frechet_distance(a, b);
  CHECK(distance_before > 0.5);
  CHECK(frechet_distance(rotated(a), rotated(b)) == Approx(distance_before).epsilon(1e-5));
  CHECK(frechet_distance(b, a) == Approx(distance_before).epsilon(1e-9));
}

TEST_CASE("metrics: of NaN no distance is 0", "[solvers][metrics]") {
  Tensor a = Tensor::normal({6, 3}, {1, Purpose::test, 0}, 0, 1);
  const Tensor b = Tensor::normal({6, 3}, {1, Purpose::test, 1}, 0, 1);
  a.as<float>()[4] = NAN;
  CHECK(std::isnan(frechet_distance(a, b)));
  CHECK(std::isnan(paired_cost(a, b)));
}

TEST_CASE("metrics: L2-UVP and shares", "[solvers][metrics]") {
  const Tensor truth = tensor({2, 2}, {1, 2, 3, 4});
  CHECK(l2_uvp(truth, truth, 5) == 0);
  CHECK(l2_uvp(tensor({2, 2}, {2, 2, 3, 2}), truth, 5) == Approx(100 * 2.5 / 5));
  CHECK(share(std::vector<char>{1, 0, 1, 1}) == 0.75);
  CHECK(share(std::vector<char>{}) == 0);
}

namespace {

/// Points of the plane as volumes of one voxel with two channels.
struct Plane {
  explicit Plane(const NeuralOtOptions& options, std::shared_ptr<const Cost> cost,
                 std::int64_t noise_channels, std::vector<std::int64_t> hidden,
                 const OptimizerOptions& map_adam, const OptimizerOptions& f_adam,
                 Activation of_potential = {ActivationKind::relu, 0})
      : map(make_trainable<MlpMap>(mlp(noise_channels, hidden))),
        f(make_trainable<MlpPotential>(mlp(0, hidden, of_potential))),
        solver(options, {map, f, std::move(cost), map_adam, f_adam, source, target}) {
    Initialiser first(Initialisation::pytorch_default, options.seed, 0);
    map->initialise(first);
    Initialiser second(Initialisation::pytorch_default, options.seed, 1);
    f->initialise(second);
  }
  static MlpOptions mlp(std::int64_t noise_channels, const std::vector<std::int64_t>& hidden,
                        Activation activation = {ActivationKind::relu, 0}) {
    MlpOptions options;
    options.activation = activation;
    options.hidden = hidden;
    options.noise_channels = noise_channels;
    return options;
  }
  static Tensor source(std::uint64_t draw, std::int64_t count) {
    return Tensor::normal({count, 1, 1, 1, 2}, {1, Purpose::source_samples, draw}, 0, 1);
  }
  /// N((2, −1), diag(1.5², 0.5²))
  static std::vector<double> shifted(const std::vector<double>& z) {
    std::vector<double> y(z.size());
    for (std::size_t i = 0; i < z.size(); ++i) y[i] = i % 2 == 0 ? 2 + 1.5 * z[i] : -1 + 0.5 * z[i];
    return y;
  }
  static Tensor target(std::uint64_t draw, std::int64_t count) {
    const Tensor z = Tensor::normal({count, 1, 1, 1, 2}, {1, Purpose::target_samples, draw}, 0, 1);
    return tensor(z.shape(), shifted(doubles(z)), DType::f32);
  }

  Trainable<MlpMap> map;
  Trainable<MlpPotential> f;
  NeuralOt solver;
};

OptimizerOptions adam(double learning_rate) {
  OptimizerOptions options;
  options.params.beta1 = 0.5;
  options.learning_rate = learning_rate;
  return options;
}

}  // namespace

TEST_CASE("neural_ot: γ rises linearly to its final value", "[solvers][neural_ot]") {
  NeuralOtOptions options;
  options.inner_steps = 1;
  options.batch_size = 4;
  options.noise_samples = 2;
  options.gamma = 0.6;
  options.gamma_steps = 3;
  const auto cost = std::make_shared<WeakQuadraticCost>();
  Plane plane(options, cost, 1, {8}, adam(1e-3), adam(1e-3));
  for (const double expected : {0.0, 0.2, 0.4, 0.6, 0.6}) {
    CHECK(plane.solver.gamma() == Approx(expected));
    plane.solver.step();
  }
  options.gamma_steps = 0;
  Plane constant(options, cost, 1, {8}, adam(1e-3), adam(1e-3));
  CHECK(constant.solver.gamma() == 0.6);
}

TEST_CASE("neural_ot: strong form learns the map between two Gaussians", "[solvers][neural_ot][slow]") {
  const test::OneThread one;
  // Optimal between Gaussians with diagonal covariances: T*(x) = m + diag(σ)·x. Var(Q) = 1.5² + 0.5² = 2.5.
  NeuralOtOptions options;
  options.inner_steps = 5;
  options.batch_size = 256;
  options.ema = 0.99;
  options.seed = 1;
  const auto cost = std::make_shared<QuadraticCost>();
  Plane plane(options, cost, 0, {64, 64}, adam(1e-3), adam(1e-3));
  for (int s = 0; s < 1000; ++s) plane.solver.step();
  const Tensor x = Tensor::normal({4096, 1, 1, 1, 2}, {2, Purpose::evaluation, 0}, 0, 1);
  const Tensor mapped = plane.solver.capabilities().transport->apply(x, {});
  const Tensor truth = tensor(x.shape(), Plane::shifted(doubles(x)));
  const double uvp = l2_uvp(mapped, truth, 2.5);
  INFO("L2-UVP " << uvp << " %");
  CHECK(uvp < 3);
  // A map that stays put would be at 100·(2² + 1² + 0.5² + 0.5²)/2.5 = 220 %.
  CHECK(l2_uvp(x, truth, 2.5) > 200);
}

TEST_CASE("neural_ot: saved and loaded, it goes on with the same bits", "[solvers][neural_ot]") {
  NeuralOtOptions options;
  options.inner_steps = 2;
  options.batch_size = 8;
  options.noise_samples = 2;
  options.gamma = 0.5;
  options.gamma_steps = 10;
  options.ema = 0.9;
  const auto cost = std::make_shared<WeakQuadraticCost>();
  Plane straight(options, cost, 1, {16}, adam(1e-3), adam(1e-3));
  for (int s = 0; s < 3; ++s) straight.solver.step();
  std::map<std::string, HostArray> arrays;
  straight.solver.save(arrays);
  Plane resumed(options, cost, 1, {16}, adam(1e-3), adam(1e-3));
  load_state_dict(*resumed.map, state_dict(*straight.map), "checkpoint");
  load_state_dict(*resumed.f, state_dict(*straight.f), "checkpoint");
  resumed.solver.load(arrays);
  CHECK(resumed.solver.steps() == 3);
  for (int s = 0; s < 3; ++s) {
    const NeuralOtLosses a = straight.solver.step();
    const NeuralOtLosses b = resumed.solver.step();
    CHECK(a.transport == b.transport);
    CHECK(a.cost == b.cost);
    CHECK(a.potential == b.potential);
  }
  CHECK(straight.map.parameters().values().to_floats() == resumed.map.parameters().values().to_floats());
  CHECK(straight.f.parameters().values().to_floats() == resumed.f.parameters().values().to_floats());
  const Tensor x = Plane::source(99, 5);
  const RandomState noise{4, Purpose::evaluation, 0};
  CHECK(straight.solver.capabilities().transport->apply(x, noise).to_floats() ==
        resumed.solver.capabilities().transport->apply(x, noise).to_floats());
}

TEST_CASE("neural_ot: a loss that is not finite stops it with the step's number", "[solvers][neural_ot]") {
  NeuralOtOptions options;
  options.inner_steps = 1;
  options.batch_size = 4;
  const auto cost = std::make_shared<QuadraticCost>();
  Plane plane(options, cost, 0, {8}, adam(1e-3), adam(1e-3));
  plane.solver.step();
  plane.f.parameters().values().fill(INFINITY);
  CHECK_THAT(error_of([&] { plane.solver.step(); }), Catch::Contains("step 2"));
}

namespace {

/// ½·D·E‖∇f‖² over the first half of the rows of each batch.
double mean_slope(Plane& plane, const std::vector<Tensor>& batches) {
  double sum = 0;
  const Freeze frozen(plane.f.parameters());
  for (const Tensor& batch : batches) {
    Tensor points = batch.detached().window(0, {batch.extent(0) / 2, 1, 1, 1, 2});
    points.require_gradient();
    Tape tape;
    tape.backward(ops::sum(tape, plane.f->forward(tape, points)));
    for (const double g : doubles(points.gradient()->take())) sum += g * g;
  }
  const auto rows = static_cast<double>(batches[0].extent(0) / 2);
  return 0.5 * 2 * sum / (rows * static_cast<double>(batches.size()));
}

/// The gradient of a potential step, by plain descent at rate 1; the plane's parameters are as before.
std::vector<float> potential_gradient(double penalty, const Tensor& x, const Tensor& y,
                                      std::unique_ptr<Plane>& plane) {
  const auto cost = std::make_shared<QuadraticCost>();
  NeuralOtOptions options;
  options.inner_steps = 1;
  options.batch_size = x.extent(0);
  options.gradient_penalty = penalty;
  OptimizerOptions descent;
  descent.params.kind = OptimizerKind::sgd;
  descent.params.weight_decay = 0;
  descent.learning_rate = 1;
  plane = std::make_unique<Plane>(options, cost, 0, std::vector<std::int64_t>{16, 16}, descent, descent,
                                  Activation{ActivationKind::tanh, 0});
  const std::vector<float> before = plane->f.parameters().values().to_floats();
  plane->solver.potential_step(x, y, 0);
  std::vector<float> gradient = plane->f.parameters().values().to_floats();
  for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = before[i] - gradient[i];
  plane->f.parameters().values().copy_from(
      Tensor::from({std::ssize(before)}, std::span<const float>(before)));
  return gradient;
}

}  // namespace

TEST_CASE("neural_ot: the gradient penalty's gradient, against differences of the penalty",
          "[solvers][neural_ot]") {
  const Tensor x = Plane::source(7, 64);
  const Tensor y = Plane::target(7, 64);
  std::unique_ptr<Plane> plane;
  const double weight = 3;
  const std::vector<float> plain = potential_gradient(0, x, y, plane);
  std::vector<float> gradient = potential_gradient(weight, x, y, plane);
  double norm = 0;
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    gradient[i] -= plain[i];
    norm += static_cast<double>(gradient[i]) * gradient[i];
  }
  norm = std::sqrt(norm);
  REQUIRE(norm > 1e-3);
  // Along its own direction, where the derivative is its norm.
  const std::vector<float> at = plane->f.parameters().values().to_floats();
  const Tensor mapped = plane->solver.capabilities().transport->apply(x, {});
  const auto penalty_at = [&](double h) {
    std::vector<float> moved = at;
    for (std::size_t i = 0; i < at.size(); ++i) moved[i] += static_cast<float>(h * gradient[i] / norm);
    plane->f.parameters().values().copy_from(Tensor::from({std::ssize(at)}, std::span<const float>(moved)));
    return weight * mean_slope(*plane, {mapped, y});
  };
  const double h = 1e-2;
  // Both sides are differences: of order h² and (0.1·slope)² with curvatures of order one, in fp32.
  CHECK((penalty_at(h) - penalty_at(-h)) / (2 * h) == Approx(norm).epsilon(0.01));
}

TEST_CASE("neural_ot: with a gradient penalty the potential's slope is told", "[solvers][neural_ot]") {
  NeuralOtOptions options;
  options.inner_steps = 1;
  options.batch_size = 64;
  options.gradient_penalty = 0.1;
  const auto cost = std::make_shared<QuadraticCost>();
  Plane plane(options, cost, 0, {16}, adam(1e-9), adam(1e-9));
  const double slope = plane.solver.step().slope;
  // D·E‖∇f‖²/4 of the batches that the step drew; nothing moved meanwhile.
  const double expected =
      mean_slope(plane, {plane.solver.capabilities().transport->apply(Plane::source(1, 64), {}),
                         Plane::target(0, 64)}) /
      2;
  CHECK(slope == Approx(expected).epsilon(1e-4));
  options.gradient_penalty = 0;
  Plane plain(options, cost, 0, {16}, adam(1e-9), adam(1e-9));
  CHECK(plain.solver.step().slope == 0);
}

TEST_CASE("neural_ot: noise on x enters the transport steps alone", "[solvers][neural_ot]") {
  NeuralOtOptions options;
  options.inner_steps = 1;
  options.batch_size = 16;
  options.seed = 4;
  const auto cost = std::make_shared<QuadraticCost>();
  const auto plane = [&](double noise) {
    options.source_noise = noise;
    return std::make_unique<Plane>(options, cost, 0, std::vector<std::int64_t>{16}, adam(1e-3), adam(1e-3));
  };
  const Tensor x = Plane::source(0, 16);
  const Tensor y = Plane::target(0, 16);
  const auto noisy = plane(0.3);
  const auto plain = plane(0);
  CHECK(noisy->solver.potential_step(x, y, 7) == plain->solver.potential_step(x, y, 7));
  CHECK(doubles(noisy->solver.capabilities().transport->apply(x, {})) ==
        doubles(plain->solver.capabilities().transport->apply(x, {})));
  std::vector<double> moved = doubles(x);
  const std::vector<double> noise = doubles(Tensor::normal(x.shape(), {4, Purpose::source_noise, 7}, 0, 1));
  for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += 0.3 * noise[i];
  // The cost too is that of the moved point.
  CHECK(noisy->solver.transport_step(x, 7) ==
        Approx(plain->solver.transport_step(tensor(x.shape(), moved, DType::f32), 7)).epsilon(1e-5));
}

TEST_CASE("neural_ot: batches are drawn by number, each once", "[solvers][neural_ot]") {
  std::vector<std::uint64_t> source;
  std::vector<std::uint64_t> target;
  NeuralOtOptions options;
  options.inner_steps = 3;
  options.batch_size = 2;
  NeuralOt solver(
      options, {make_trainable<MlpMap>(Plane::mlp(0, {4})), make_trainable<MlpPotential>(Plane::mlp(0, {4})),
                std::make_shared<QuadraticCost>(), adam(1e-3), adam(1e-3),
                [&](std::uint64_t draw, std::int64_t n) {
                  source.push_back(draw);
                  return Plane::source(draw, n);
                },
                [&](std::uint64_t draw, std::int64_t n) {
                  target.push_back(draw);
                  return Plane::target(draw, n);
                }});
  solver.step();
  solver.step();
  CHECK(source == std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 6, 7});
  CHECK(target == std::vector<std::uint64_t>{0, 1});
}
