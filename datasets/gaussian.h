#pragma once
// Pairs of Gaussian distributions, for which the optimal map is known in closed form: the data set gaussian.
#include <memory>
#include <vector>

#include "datasets/truth.h"

namespace voxot {

/// N(m, Σ) in D dimensions, made from a seed. Entries are row-major.
struct GaussianVectors {
  std::int64_t dimension = 0;
  std::vector<double> mean;        // D
  std::vector<double> covariance;  // D×D
};

/// A Gaussian field of 3 channels on n³ voxels that the orthonormal DCT-II along each axis makes diagonal.
struct GaussianField {
  std::int64_t extent = 0;        // n
  std::vector<double> mean;       // n³×3, of each mode
  std::vector<double> deviation;  // n³×3
};

/// The vectors of config.dimension, config.seed and config.role. Σ = R·diag(λ)·Rᵀ: R is the orthogonal factor
/// of a matrix of normal numbers, λ is log-uniform in [1/4, 4]; the means are uniform in [−1, 1].
GaussianVectors gaussian_vectors(const DatasetConfig& config);

/// The field of config.resolution, config.seed and config.role. Mode k of a channel has a standard deviation
/// in proportion to (1 + |k|²)^(−α/2) with α uniform in [1, 2]; the variance of a value, averaged over the
/// volume, is log-uniform in [1/8, 1/2], and the channel's mean uniform in [−1/2, 1/2].
GaussianField gaussian_field(const DatasetConfig& config);

/// The matrix A = Σ₁^(−½)(Σ₁^½ Σ₂ Σ₁^½)^½ Σ₁^(−½), row-major, of the optimal map
/// T*(x) = m₂ + A(x − m₁). Throws Error for different dimensions.
std::vector<double> optimal_matrix(const GaussianVectors& source, const GaussianVectors& target);

/// T*(x) of `count` samples as they are drawn, and the total variance of the target. Throws UsageError unless
/// both have one shape.
std::vector<float> optimal_gaussian_map(const DatasetConfig& source, const DatasetConfig& target,
                                        const std::vector<float>& x, std::int64_t count, double* variance);

/// Vectors 1×1×1×D, or with config.field volumes n×n×n×3. Every split is unlimited; splits and roles draw
/// from streams of their own.
std::unique_ptr<Dataset> open_gaussian(const DatasetConfig& config, Split split,
                                       const std::filesystem::path& data_directory);

/// known_truth() of two Gaussians: `count` samples of the source's test split. Throws as
/// optimal_gaussian_map() does.
std::optional<KnownTruth> gaussian_truth(const DatasetConfig& source, const DatasetConfig& target,
                                         const std::filesystem::path& data_directory,
                                         const RandomState& state, std::int64_t count);

}  // namespace voxot
