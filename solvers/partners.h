#pragma once
// How a row of a transport plan becomes one partner, on the device where the plan lies.
#include "engine/buffer.h"

namespace voxot {

/// How a row of a plan becomes one column.
enum class PartnerRule : std::uint8_t {
  sample,       // drawn from the row, normalised
  maximum,      // the row's largest element, the first of equals
  permutation,  // every target once: the exact assignment; of a Sinkhorn plan, that with most of its mass
};

/// Writes into `partner` the column of each row of a plan n×m, fp32 or fp64, queued. `places`: the number of
/// each row's source in its batch, which its random number goes by (null: the row's); `state` is read for
/// `sample` only. CPU and GPU choose the same from the same plan. Nothing waits for the host; a GPU refuses
/// permutations of more than kMostAssignedOnCuda rows, and none is certified. Throws Error for a permutation
/// of an n×m plan with n ≠ m.
void choose_partners(const Tensor& plan, PartnerRule rule, const RandomState& state,
                     const std::int32_t* places, std::int32_t* partner);

/// Costs whose assignment is the permutation with most of a plan's mass: n×n fp64, −n² times the plan, where
/// the plan lies. Throws Error for a plan that is not square.
Tensor permutation_costs(const Tensor& plan);

}  // namespace voxot
