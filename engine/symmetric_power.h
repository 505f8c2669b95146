#pragma once
// Powers of symmetric matrices, for Fréchet distances and closed-form Gaussian maps.
#include <cstdint>
#include <span>
#include <vector>

namespace voxot {

/// m^power of a symmetric positive semidefinite matrix, n×n in row-major order, by its eigenvectors.
/// Eigenvalues that rounding puts below 0 count as 0. Throws Error unless m has n² elements and n is
/// positive.
std::vector<double> symmetric_power(std::span<const double> m, std::int64_t n, double power);

}  // namespace voxot
