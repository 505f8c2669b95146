#include "solvers/costs.h"

#include "engine/ops/elementwise.h"
#include "engine/ops/reduction.h"

namespace voxot {

Tensor QuadraticCost::operator()(Tape& tape, const Tensor& x, const Tensor& mapped, double) const {
  return ops::mean_squared_error(tape, x, mapped);
}

Tensor WeakQuadraticCost::operator()(Tape& tape, const Tensor& x, const Tensor& mapped, double gamma) const {
  const std::int64_t copies = mapped.count() / x.count();
  VOXOT_CHECK(copies >= 2 && copies * x.count() == mapped.count(),
              "weak cost: {} mapped values for {} source values, expected at least two whole copies",
              mapped.count(), x.count());
  const Tensor table = ops::reshape(tape, mapped, {copies, x.count()});
  const Tensor mean = ops::reduce(tape, table, Reduction::mean, 0);
  const Tensor variance = ops::mean(tape, ops::reduce(tape, table, Reduction::variance, 0));
  const Tensor distance = ops::mean_squared_error(tape, ops::reshape(tape, x, {x.count()}), mean);
  return ops::linear_combination(tape, 1, distance, 1 - gamma - 1 / static_cast<double>(copies), variance);
}

}  // namespace voxot
