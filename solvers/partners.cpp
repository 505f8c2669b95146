#include "solvers/partners.h"

#include "kernels/assignment.h"
#include "kernels/elementwise.h"
#include "kernels/partners.h"

namespace voxot {
namespace {

/// The permutation that collects most of the plan's mass.
void heaviest_permutation(const Tensor& plan, std::int32_t* partner) {
  const std::int64_t n = plan.extent(0);
  VOXOT_CHECK(n == plan.extent(1),
              "pair: a permutation pairs sets of equal size, got {} source and {} target samples", n,
              plan.extent(1));
  // In units of a uniform element, so that no cost is lost beside the others.
  const Tensor cost = plan.to(DType::f64);
  kernels::axpby(cost.stream(), DType::f64, cost.count(), -static_cast<double>(plan.count()), cost.data(), 0,
                 cost.data());
  const auto solve = [n](const Tensor& costs, std::int32_t* column_of_row) {
    const Buffer<double> f(n, costs.device());
    const Buffer<double> g(n, costs.device());
    kernels::assignment(costs.stream(), DType::f64, {.count = 1, .n = n}, costs.data(), column_of_row,
                        f.data(), g.data());
  };
  if (cost.device() == Device::cpu || n <= kMostAssignedOnCuda) return solve(cost, partner);
  const Buffer<std::int32_t> here(n, Device::cpu);
  solve(cost.to(Device::cpu), here.data());
  kernels::copy_bytes(cost.stream(), partner, here.data(), static_cast<std::size_t>(n) * sizeof *partner);
  kernels::synchronize(cost.stream());
}

}  // namespace

void choose_partners(const Tensor& plan, PartnerRule rule, const RandomState& state,
                     const std::int32_t* places, std::int32_t* partner) {
  VOXOT_CHECK(plan.defined() && plan.shape().rank() == 2, "pair: there is no plan");
  const PlanExtent extent{plan.extent(0), plan.extent(1)};
  switch (rule) {
    case PartnerRule::sample:
      return kernels::draw_partners(plan.stream(), plan.dtype(), extent, state, places, plan.data(), partner);
    case PartnerRule::maximum:
      return kernels::largest_partners(plan.stream(), plan.dtype(), extent, plan.data(), partner);
    case PartnerRule::permutation:
      return heaviest_permutation(plan, partner);
  }
}

}  // namespace voxot
