#include "solvers/metrics.h"

#include <Eigen/Core>
#include <algorithm>
#include <numeric>

#include "engine/symmetric_power.h"
#include "kernels/sizes.h"
#include "solvers/exact_ot.h"

namespace voxot {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix rows(const Tensor& t) {
  VOXOT_CHECK(t.shape().rank() >= 1 && t.count() > 0, "metrics: empty tensor {}", t.shape().text());
  const Tensor wide = t.to(Device::cpu).to(DType::f64);
  const std::int64_t n = t.extent(0);
  return Eigen::Map<const Matrix>(wide.as<double>(), n, t.count() / n);
}

void check_alike(const char* what, const Tensor& a, const Tensor& b) {
  VOXOT_CHECK(a.shape() == b.shape(), "{}: {} with {}", what, a.shape().text(), b.shape().text());
}

/// The symmetric square root of a positive semidefinite matrix.
Matrix root(const Matrix& m) {
  const auto values = symmetric_power({m.data(), to_size(m.size())}, m.rows(), 0.5);
  return Eigen::Map<const Matrix>(values.data(), m.rows(), m.cols());
}

}  // namespace

double paired_cost(const Tensor& a, const Tensor& b) {
  check_alike("paired_cost", a, b);
  return (rows(a) - rows(b)).squaredNorm() / static_cast<double>(a.count());
}

double discrete_cost(const Tensor& a, const Tensor& b) {
  check_alike("discrete_cost", a, b);
  Matrix x = rows(a);
  Matrix y = rows(b);
  // About an origin amid the points, so that the squares do not drown the differences.
  const Eigen::RowVectorXd origin = y.colwise().mean();
  x.rowwise() -= origin;
  y.rowwise() -= origin;
  Matrix cost = -2 * x * y.transpose();
  cost.colwise() += x.rowwise().squaredNorm();
  cost.rowwise() += y.rowwise().squaredNorm().transpose();
  const std::span<const double> flat(cost.data(), to_size(cost.size()));
  return assign(flat, cost.rows()).cost / static_cast<double>(a.count());
}

double frechet_distance(const Tensor& a, const Tensor& b) {
  const Matrix x = rows(a);
  const Matrix y = rows(b);
  VOXOT_CHECK(x.cols() == y.cols() && x.rows() >= 2 && y.rows() >= 2,
              "frechet_distance: needs two rows or more of equal width, got {} and {}", a.shape().text(),
              b.shape().text());
  const auto covariance = [](const Matrix& m) -> Matrix {
    const Matrix centred = m.rowwise() - m.colwise().mean();
    return centred.transpose() * centred / static_cast<double>(m.rows() - 1);
  };
  const Matrix cx = covariance(x);
  const Matrix cy = covariance(y);
  const Matrix half = root(cx);
  const double cross = root(half * cy * half).trace();
  const double means = (x.colwise().mean() - y.colwise().mean()).squaredNorm();
  return std::max(means + cx.trace() + cy.trace() - 2 * cross, 0.0);  // in this order NaN stays
}

double l2_uvp(const Tensor& mapped, const Tensor& truth, double variance) {
  check_alike("l2_uvp", mapped, truth);
  return 100 * (rows(mapped) - rows(truth)).squaredNorm() / static_cast<double>(mapped.extent(0)) / variance;
}

double transport_cosine(const Tensor& x, const Tensor& mapped, const Tensor& truth) {
  check_alike("transport_cosine", x, mapped);
  check_alike("transport_cosine", x, truth);
  const Matrix from = rows(x);
  const Matrix learned = rows(mapped) - from;
  const Matrix known = rows(truth) - from;
  const double norms = learned.norm() * known.norm();
  return norms > 0 ? learned.cwiseProduct(known).sum() / norms : 0;
}

double share(std::span<const char> hits) {
  if (hits.empty()) return 0;
  return std::accumulate(hits.begin(), hits.end(), 0.0) / static_cast<double>(hits.size());
}

}  // namespace voxot
