#include "solvers/sinkhorn_loss.h"

#include <cmath>

#include "engine/ops/elementwise.h"
#include "engine/ops/pairwise_cost.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

/// A set's weights as the solver takes them, and what their gradient needs.
struct Side {
  std::vector<double> weights;
  double raw_mass = 1;  // before normalisation
  bool normalised = false;
};

std::vector<double> values_of(const Tensor& t) {
  const Tensor wide = t.to(Device::cpu).to(DType::f64);
  return {wide.as<double>(), wide.as<double>() + wide.count()};
}

double sum_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum;
}

Side side_of(const Tensor& weights, std::int64_t count, const Tensor& cost, bool hard, const char* name) {
  Side side;
  side.normalised = hard;
  if (!weights.defined()) {
    side.weights.assign(to_size(count), 1 / static_cast<double>(count));
    return side;
  }
  VOXOT_CHECK(
      weights.shape() == Shape{count} && weights.dtype() == cost.dtype() && weights.device() == cost.device(),
      "sinkhorn_value: {} weights {} {} on {} for costs {} {} on {}", name, weights.shape().text(),
      name_of(weights.dtype()), name_of(weights.device()), cost.shape().text(), name_of(cost.dtype()),
      name_of(cost.device()));
  side.weights = values_of(weights);
  if (!hard) return side;
  side.raw_mass = sum_of(side.weights);
  VOXOT_CHECK(side.raw_mass > 0 && std::isfinite(side.raw_mass),
              "sinkhorn_value: the {} weights add up to {}", name, side.raw_mass);
  for (double& w : side.weights) w /= side.raw_mass;
  return side;
}

/// ∂value/∂weights of one side at its potentials.
std::vector<double> weight_gradient(const Side& side, const std::vector<double>& potential, double rho,
                                    double epsilon, double other_mass) {
  std::vector<double> gradient(potential.size());
  double mean = 0;
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    // The share of the row's weight that the plan gives it at the optimum.
    const double share = std::isinf(rho) ? 1 : std::exp(-potential[i] / rho);
    gradient[i] = (std::isinf(rho) ? potential[i] : rho * (1 - share)) - epsilon * (share - other_mass);
    mean += side.weights[i] * gradient[i];
  }
  if (side.normalised) {
    for (double& g : gradient) g = (g - mean) / side.raw_mass;
  }
  return gradient;
}

/// slot += factor·values
void give(const SlotRef& slot, const std::vector<double>& values, double factor) {
  std::vector<double> scaled = values;
  for (double& v : scaled) v *= factor;
  slot->give(Tensor::from(slot->shape, std::span<const double>(scaled), slot->dtype, slot->device));
}

struct SinkhornValueNode : Node {
  Tensor plan;
  std::vector<double> source_gradient, target_gradient;
  SlotRef cost_slot, source_slot, target_slot;

  void backward(Tensor grad) override {
    const double factor = grad.item();
    if (cost_slot != nullptr) {
      Tape quiet;
      cost_slot->give(ops::scale(quiet, plan, factor));
    }
    if (source_slot != nullptr) give(source_slot, source_gradient, factor);
    if (target_slot != nullptr) give(target_slot, target_gradient, factor);
  }
};

/// ½·ε·(m_a − m_b)² on the tape, for relaxed marginals.
struct MassTermNode : Node {
  double slope = 0;  // ε·(m_a − m_b)
  SlotRef source_slot, target_slot;

  void backward(Tensor grad) override {
    const double factor = grad.item() * slope;
    const auto put = [](const SlotRef& slot, double value) {
      if (slot != nullptr) slot->give(Tensor::full(slot->shape, value, slot->dtype, slot->device));
    };
    put(source_slot, factor);
    put(target_slot, -factor);
  }
};

Tensor mass_term(Tape& tape, const Tensor& cost, const WeightTensors& weights, double epsilon) {
  const auto mass = [](const Tensor& w) { return w.defined() ? sum_of(values_of(w)) : 1.0; };
  const double difference = mass(weights.source) - mass(weights.target);
  Tensor term = Tensor::full({1}, 0.5 * epsilon * difference * difference, cost.dtype(), cost.device());
  if (tape.records(weights.source, weights.target)) {
    MassTermNode node;
    node.slope = epsilon * difference;
    node.source_slot = Tape::slot(weights.source);
    node.target_slot = Tape::slot(weights.target);
    tape.record(term, std::move(node));
  }
  return term;
}

/// What a solved problem says of its costs.
struct Scale {
  double epsilon = 0;  // absolute
  double largest_cost = 0;
};

/// `scale`, where not null, receives the problem's.
Tensor value(Tape& tape, const Tensor& cost, const SinkhornOptions& options, const WeightTensors& weights,
             Scale* scale) {
  VOXOT_CHECK(cost.defined() && cost.shape().rank() == 2, "sinkhorn_value: expected costs n×m");
  const Side source = side_of(weights.source, cost.extent(0), cost, options.hard(), "source");
  const Side target = side_of(weights.target, cost.extent(1), cost, options.hard(), "target");
  SinkhornOptions o = options;
  o.plan = tape.records(cost);
  SinkhornResult r = sinkhorn({cost.detached(), source.weights, target.weights, {}}, o);
  VOXOT_CHECK(r.converged,
              "sinkhorn_value: the marginal error is {} after {} iterations; expected at most {}",
              r.marginal_error, r.iterations, o.tolerance);
  Tensor loss = Tensor::full({1}, r.dual, cost.dtype(), cost.device());
  if (tape.records(cost, weights.source, weights.target)) {
    SinkhornValueNode node;
    node.plan = std::move(r.plan);
    node.cost_slot = Tape::slot(cost);
    node.source_slot = Tape::slot(weights.source);
    node.target_slot = Tape::slot(weights.target);
    node.source_gradient = weight_gradient(source, r.f, o.rho_a, r.epsilon, sum_of(target.weights));
    node.target_gradient = weight_gradient(target, r.g, o.rho_b, r.epsilon, sum_of(source.weights));
    tape.record(loss, std::move(node));
  }
  if (scale != nullptr) *scale = {r.epsilon, r.largest_cost};
  return loss;
}

}  // namespace

Tensor sinkhorn_value(Tape& tape, const Tensor& cost, const SinkhornOptions& options,
                      const WeightTensors& weights) {
  return value(tape, cost, options, weights, nullptr);
}

Tensor sinkhorn_divergence(Tape& tape, const Tensor& x, const Tensor& y, GroundCost cost,
                           const SinkhornOptions& options, const WeightTensors& weights) {
  VOXOT_CHECK(options.rho_a == options.rho_b, "sinkhorn_divergence: rho is {} and {}; expected one value",
              options.rho_a, options.rho_b);
  SinkhornOptions o = options;
  const Tensor between_cost = ops::pairwise_cost(tape, x, y, cost);
  Scale scale;
  const Tensor between = value(tape, between_cost, o, weights, &scale);
  check_costs_kept(x, y, cost, scale.largest_cost);
  o.epsilon = scale.epsilon;
  o.unit = EpsilonUnit::absolute;
  o.symmetric = true;
  const auto self = [&](const Tensor& points, const Tensor& w) {
    return value(tape, ops::pairwise_cost(tape, points, points, cost), o, {w, w}, nullptr);
  };
  const Tensor own =
      ops::linear_combination(tape, 0.5, self(x, weights.source), 0.5, self(y, weights.target));
  const Tensor divergence = ops::sub(tape, between, own);
  if (o.hard()) return divergence;
  return ops::add(tape, divergence, mass_term(tape, between_cost, weights, o.epsilon));
}

}  // namespace voxot
