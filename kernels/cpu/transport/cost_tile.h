#pragma once
// Rows of a cost matrix from features, for the whole matrix (pairwise_cost.cpp) and for the streamed solver,
// which never holds it. Both therefore see the same numbers.
#include <vector>

#include "kernels/cpu/gemm_tile.h"
#include "kernels/pairwise_cost.h"

namespace voxot::cpu {

/// One problem of a batch: the features, and what both sets share.
template <class T>
class CostTiles {
 public:
  /// Keeps the pointers.
  CostTiles(const PairwiseCostParams& p, const T* x, const T* y);

  /// out [count, columns] ← costs of rows [first, first + count). Thread-safe; a scratch of a few hundred KB
  /// a thread stays for the next call.
  void rows(std::int64_t first, std::int64_t count, T* out) const;

 private:
  void squared(std::int64_t first, std::int64_t count, T* out) const;
  /// `count` costs of row i from column j on, from the norms and products about an origin.
  void finish(std::int64_t i, std::int64_t j, std::int64_t count, T square, const T* others,
              const T* products, T* out) const;
  void cosine(std::int64_t first, std::int64_t count, T* out) const;
  void direct(std::int64_t first, std::int64_t count, T* out) const;
  /// ‖a − b‖²
  [[nodiscard]] T difference(const T* a, const T* b) const;

  PairwiseCostParams p_;
  const T* x_;
  const T* y_;
  // For the cosine, of the points of y: 1/‖y‖ and y/‖y‖.
  std::vector<double> inverse_norm_;
  std::vector<T> unit_;
};

}  // namespace voxot::cpu
