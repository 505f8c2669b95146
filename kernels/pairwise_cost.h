#pragma once
// Cost matrices between two sets of feature vectors, by matrix products.
#include <cmath>

#include "kernels/kernel.h"

namespace voxot {

/// The cost of carrying a unit of mass from x to y.
enum class GroundCost : std::uint8_t {
  squared_euclidean,           // ‖x − y‖²
  half_squared_per_dimension,  // ½‖x − y‖²/D, the cost of minibatch pairing
  // 1 − x·y/(‖x‖‖y‖), in [0, 2]; a zero vector is at distance 1 from all, one whose norm is not in
  // (1e-100, 1e100) at NaN.
  cosine,
};

/// `batch` pairs of sets of vectors.
struct PairwiseCostParams {
  GroundCost kind = GroundCost::squared_euclidean;
  std::int64_t batch = 1;      // independent pairs of sets
  std::int64_t rows = 1;       // points of x in each
  std::int64_t columns = 1;    // points of y in each
  std::int64_t dimension = 1;  // D

  /// Throws Error for empty sets.
  void validate() const {
    VOXOT_CHECK(batch >= 1 && rows >= 1 && columns >= 1 && dimension >= 1,
                "pairwise_cost: {} problems of {} by {} points of dimension {}; none may be empty", batch,
                rows, columns, dimension);
  }
  /// What multiplies ‖x − y‖².
  [[nodiscard]] double scale() const {
    return kind == GroundCost::half_squared_per_dimension ? 0.5 / static_cast<double>(dimension) : 1.0;
  }
};

namespace kernels {

/// cost [batch, rows, columns] ← costs, clamped at 0, of x [batch, rows, D] and y [batch, columns, D]
/// (dtype, params, x, y, cost); fp32 or f64. Squared distances are taken as ‖x‖² + ‖y‖² − 2x·y of vectors
/// from which an origin amid the problem's points is subtracted; where that would leave fewer than about four
/// digits in fp32 (near duplicates) the difference itself is squared. The costs of a set with itself, x and y
/// being the same memory, are symmetric to the bit.
inline constinit Kernel<void(DType, const PairwiseCostParams&, const void*, const void*, void*)>
    pairwise_cost{"pairwise_cost"};

struct PairwiseCostGradients {
  const void* x;
  const void* y;
  const void* grad_cost;
  void* grad_x = nullptr;  // may be null
  Write grad_x_write = Write::overwrite;
  void* grad_y = nullptr;  // may be null
  Write grad_y_write = Write::overwrite;
};
/// Gradients with respect to the points from that with respect to the costs. The cosine of a zero vector has
/// none: 0.
inline constinit Kernel<void(DType, const PairwiseCostParams&, const PairwiseCostGradients&)>
    pairwise_cost_backward{"pairwise_cost_backward"};

}  // namespace kernels
}  // namespace voxot
