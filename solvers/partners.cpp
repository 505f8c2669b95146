#include "solvers/partners.h"

#include "kernels/assignment.h"
#include "kernels/elementwise.h"
#include "kernels/partners.h"

namespace voxot {
namespace {

void heaviest_permutation(const Tensor& plan, std::int32_t* partner) {
  const Tensor cost = permutation_costs(plan);
  const std::int64_t n = plan.extent(0);
  const Buffer<double> f(n, cost.device());
  const Buffer<double> g(n, cost.device());
  kernels::assignment(cost.stream(), DType::f64, {.count = 1, .n = n},
                      {.cost = cost.data(),
                       .column_of_row = partner,
                       .row_potential = f.data(),
                       .column_potential = g.data()});
}

}  // namespace

Tensor permutation_costs(const Tensor& plan) {
  VOXOT_CHECK(plan.defined() && plan.shape().rank() == 2, "pair: there is no plan");
  VOXOT_CHECK(plan.extent(0) == plan.extent(1),
              "pair: a permutation pairs sets of equal size, got {} source and {} target samples",
              plan.extent(0), plan.extent(1));
  // In units of a uniform element, so that no cost is lost beside the others.
  const Tensor cost = plan.to(DType::f64);
  kernels::axpby(cost.stream(), DType::f64,
                 {.count = cost.count(),
                  .a = -static_cast<double>(plan.count()),
                  .x = cost.data(),
                  .b = 0,
                  .y = cost.data()});
  return cost;
}

void choose_partners(const Tensor& plan, PartnerRule rule, const RandomState& state,
                     const std::int32_t* places, std::int32_t* partner) {
  VOXOT_CHECK(plan.defined() && plan.shape().rank() == 2, "pair: there is no plan");
  const PlanExtent extent{plan.extent(0), plan.extent(1)};
  switch (rule) {
    case PartnerRule::sample:
      return kernels::draw_partners(
          plan.stream(), plan.dtype(), extent,
          {.state = state, .places = places, .plan = plan.data(), .partner = partner});
    case PartnerRule::maximum:
      return kernels::largest_partners(plan.stream(), plan.dtype(), extent, plan.data(), partner);
    case PartnerRule::permutation:
      return heaviest_permutation(plan, partner);
  }
}

}  // namespace voxot
