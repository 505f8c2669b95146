#pragma once
// How good a map is, on held-out samples.
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tensor.h"

namespace voxot {

/// mean (a_i − b_i)² over batch and dimensions: the transport cost per value.
double paired_cost(const Tensor& a, const Tensor& b);

/// The least paired_cost over all pairings of the rows of a and b (exact assignment); N rows each.
double discrete_cost(const Tensor& a, const Tensor& b);

/// Fréchet distance ‖m₁ − m₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) between Gaussian fits of two sets of features, N×F
/// each (Dowson, Landau 1982). Throws Error for fewer than two rows.
double frechet_distance(const Tensor& a, const Tensor& b);

/// 100·E‖T − T*‖²/Var(Q) in percent: mapped and truth N×D, `variance` the total variance of the target.
double l2_uvp(const Tensor& mapped, const Tensor& truth, double variance);

/// ⟨T(x) − x, T*(x) − x⟩ over the batch, divided by the norms of both (arXiv 2106.01954): N×D each.
double transport_cosine(const Tensor& x, const Tensor& mapped, const Tensor& truth);

/// Share of true values.
double share(std::span<const char> hits);

}  // namespace voxot
