#pragma once
// From a transport plan to one partner for each source, and what is said of both. A plan is rows × columns,
// row-major, fp32 or f64, of masses that are not negative; a row's sum may be anything. Sums are double in
// the order of the columns, so that devices that are given the same plan choose the same partners. An element
// that is not a number counts as nothing; every partner is a column.
#include "kernels/kernel.h"
#include "kernels/philox.h"

namespace voxot {

/// The size of a plan.
struct PlanExtent {
  std::int64_t rows = 1;
  std::int64_t columns = 1;

  /// Throws Error for what is empty or has 2³¹ rows or columns.
  void validate(const char* op) const {
    constexpr std::int64_t kMost = 0x7FFFFFFF;
    VOXOT_CHECK(rows >= 1 && columns >= 1 && rows <= kMost && columns <= kMost, "{}: a plan of {}×{}", op,
                rows, columns);
  }
};

namespace kernels {

struct PartnerDraw {
  RandomState state;
  const std::int32_t* places = nullptr;  // of the rows; null: i
  const void* plan;
  std::int32_t* partner;
};
/// partner[i] ← the column at which the running sum of row i passes its u-th share, u being the first number
/// of sample_random(state, places[i]) in volume_sample.h.
inline constinit Kernel<void(DType, const PlanExtent&, const PartnerDraw&)> draw_partners{"draw_partners"};

/// partner[i] ← the column of row i's largest element, the first of equals (dtype, extent, plan, partner).
inline constinit Kernel<void(DType, const PlanExtent&, const void*, std::int32_t*)> largest_partners{
    "largest_partners"};

/// Of each row its sum and its entropy −Σ p·log p, nats (dtype, extent, plan, sums, entropies); f64.
inline constinit Kernel<void(DType, const PlanExtent&, const void*, double*, double*)> plan_rows{"plan_rows"};

/// costs[i] ← cost[i, partner[i]], f64 (dtype, extent, cost, partner, costs).
inline constinit Kernel<void(DType, const PlanExtent&, const void*, const std::int32_t*, double*)> pair_costs{
    "pair_costs"};

}  // namespace kernels
}  // namespace voxot
