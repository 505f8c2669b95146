#include "solvers/costs.h"

#include "engine/ops/elementwise.h"
#include "engine/ops/reduction.h"

namespace voxot {

Tensor Cost::operator()(Tape& tape, const Tensor& x, const Tensor& mapped, double gamma) const {
  const CostFactors values = factors(gamma, mapped.count() / x.count());
  return evaluate(tape, x, mapped, Buffer<double>::from(values, x.device()));
}

Tensor QuadraticCost::evaluate(Tape& tape, const Tensor& x, const Tensor& mapped,
                               const Buffer<double>&) const {
  return ops::mean_squared_error(tape, x, mapped);
}

CostFactors WeakQuadraticCost::factors(double gamma, std::int64_t copies) const {
  return {1, 1 - gamma - 1 / static_cast<double>(copies), 0};
}

Tensor WeakQuadraticCost::evaluate(Tape& tape, const Tensor& x, const Tensor& mapped,
                                   const Buffer<double>& factors) const {
  const std::int64_t copies = mapped.count() / x.count();
  VOXOT_CHECK(copies >= 2 && copies * x.count() == mapped.count(),
              "weak cost: {} mapped values for {} source values, expected at least two whole copies",
              mapped.count(), x.count());
  const Tensor table = ops::reshape(tape, mapped, {copies, x.count()});
  const Tensor mean = ops::reduce(tape, table, Reduction::mean, 0);
  const Tensor variance = ops::mean(tape, ops::reduce(tape, table, Reduction::variance, 0));
  const Tensor distance = ops::mean_squared_error(tape, ops::reshape(tape, x, {x.count()}), mean);
  return ops::scale_add_at(tape, distance, factors, variance);
}

}  // namespace voxot
