#pragma once
// How a row of a transport plan becomes one partner, on the device where the plan lies.
#include "engine/buffer.h"

namespace voxot {

enum class PartnerRule : std::uint8_t {
  sample,       // drawn from the row, normalised
  maximum,      // the row's largest element, the first of equals
  permutation,  // every target once: the exact assignment; of a Sinkhorn plan, that with most of its mass
};

/// Writes into `partner` the column of each row of a plan n×m, fp32 or fp64, queued. `places`: the number of
/// each row's source in its batch, which its random number goes by (null: the row's); `state` is read for
/// `sample` only. CPU and GPU choose the same from the same plan. A GPU waits for the host in permutations of
/// more than kMostAssignedOnCuda rows, and in nothing else. Throws Error for a permutation of an n×m plan
/// with n ≠ m.
void choose_partners(const Tensor& plan, PartnerRule rule, const RandomState& state,
                     const std::int32_t* places, std::int32_t* partner);

}  // namespace voxot
