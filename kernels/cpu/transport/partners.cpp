#include "kernels/partners.h"

#include <cmath>

#include "kernels/cpu/scalar.h"
#include "kernels/volume_sample.h"

namespace voxot::kernels {
namespace {

/// body(i, row) for every row of a plan in its type.
template <class Body>
void each_row(const char* op, DType dtype, const PlanExtent& extent, const void* plan, const Body& body) {
  extent.validate(op);
  const auto run = [&]<class T>() {
#pragma omp parallel for schedule(static) if (extent.rows * extent.columns > cpu::kParallelGrain)
    for (std::int64_t i = 0; i < extent.rows; ++i) body(i, static_cast<const T*>(plan) + i * extent.columns);
  };
  VOXOT_CHECK(dtype != DType::bf16, "{}: a plan in bf16; expected fp32 or fp64", op);
  dtype == DType::f64 ? run.template operator()<double>() : run.template operator()<float>();
}

void draw(const Stream&, DType dtype, const PlanExtent& extent, const PartnerDraw& d) {
  each_row("draw_partners", dtype, extent, d.plan, [&](std::int64_t i, const auto* row) {
    const auto mass = [=](std::int64_t j) { return row[j] > 0 ? static_cast<double>(row[j]) : 0.0; };
    double sum = 0;
    for (std::int64_t j = 0; j < extent.columns; ++j) sum += mass(j);
    Random random = sample_random(d.state, d.places != nullptr ? d.places[i] : i);
    const double wanted = static_cast<double>(random.uniform()) * sum;
    std::int32_t last = 0;
    double passed = 0;
    for (std::int64_t j = 0; j < extent.columns && !(passed > wanted); ++j) {
      if (!(row[j] > 0)) continue;
      last = static_cast<std::int32_t>(j);
      passed += mass(j);
    }
    d.partner[i] = last;
  });
}

void largest(const Stream&, DType dtype, const PlanExtent& extent, const void* plan, std::int32_t* partner) {
  each_row("largest_partners", dtype, extent, plan, [&](std::int64_t i, const auto* row) {
    std::int64_t best = 0;
    for (std::int64_t j = 1; j < extent.columns; ++j) {
      // A number wins over NaN.
      if (row[j] > row[best] || (std::isnan(row[best]) && !std::isnan(row[j]))) best = j;
    }
    partner[i] = static_cast<std::int32_t>(best);
  });
}

void rows_of_plan(const Stream&, DType dtype, const PlanExtent& extent, const void* plan, double* sums,
                  double* entropies) {
  each_row("plan_rows", dtype, extent, plan, [&](std::int64_t i, const auto* row) {
    double sum = 0;
    double entropy = 0;
    for (std::int64_t j = 0; j < extent.columns; ++j) {
      if (!(row[j] > 0)) continue;
      const auto p = static_cast<double>(row[j]);
      sum += p;
      entropy -= p * std::log(p);
    }
    sums[i] = sum;
    entropies[i] = entropy;
  });
}

void costs_of_pairs(const Stream&, DType dtype, const PlanExtent& extent, const void* cost,
                    const std::int32_t* partner, double* costs) {
  each_row("pair_costs", dtype, extent, cost,
           [&](std::int64_t i, const auto* row) { costs[i] = static_cast<double>(row[partner[i]]); });
}

const Implement draw_partners_cpu{draw_partners, Device::cpu, draw};
const Implement largest_partners_cpu{largest_partners, Device::cpu, largest};
const Implement plan_rows_cpu{plan_rows, Device::cpu, rows_of_plan};
const Implement pair_costs_cpu{pair_costs, Device::cpu, costs_of_pairs};

}  // namespace
}  // namespace voxot::kernels
