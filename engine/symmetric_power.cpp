#include "engine/symmetric_power.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace voxot {

std::vector<double> symmetric_power(std::span<const double> m, std::int64_t n, double power) {
  VOXOT_CHECK(n >= 1 && std::ssize(m) == n * n, "symmetric_power: {} elements for a matrix of {}×{}",
              m.size(), n, n);
  using Matrix = Eigen::MatrixXd;  // of a symmetric matrix rows are columns
  const Eigen::SelfAdjointEigenSolver<Matrix> solver(Eigen::Map<const Matrix>(m.data(), n, n));
  Eigen::VectorXd powers = solver.eigenvalues();
  for (double& v : powers) v = std::pow(std::max(v, 0.0), power);
  std::vector<double> result(m.size());
  Eigen::Map<Matrix>(result.data(), n, n) =
      solver.eigenvectors() * powers.asDiagonal() * solver.eigenvectors().transpose();
  return result;
}

}  // namespace voxot
