#include "datasets/gaussian.h"

#include <Eigen/QR>
#include <cmath>

#include "engine/symmetric_power.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

using Matrix = Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr std::int64_t kChannels = 3;

std::uint64_t role_index(const DatasetConfig& config) { return config.role == "target" ? 1 : 0; }

Random parameters_of(const DatasetConfig& config) {
  return {static_cast<std::uint64_t>(config.seed), Purpose::synthesis, role_index(config)};
}

double log_uniform(Random& random, double low, double high) {
  return low * std::pow(high / low, static_cast<double>(random.uniform()));
}

Eigen::Map<const RowMajor> square(const std::vector<double>& values) {
  const auto n = static_cast<Eigen::Index>(std::llround(std::sqrt(static_cast<double>(values.size()))));
  return {values.data(), n, n};
}

std::vector<double> row_major(const Matrix& m) {
  std::vector<double> values(to_size(m.size()));
  Eigen::Map<RowMajor>(values.data(), m.rows(), m.cols()) = m;
  return values;
}

/// m^power of a symmetric positive matrix.
Matrix matrix_power(const Matrix& m, double power) {
  return square(symmetric_power({m.data(), to_size(m.size())}, m.rows(), power));
}

/// Row k: mode k of the orthonormal DCT-II.
std::vector<double> cosine_basis(std::int64_t n) {
  std::vector<double> basis(to_size(n * n));
  for (std::int64_t k = 0; k < n; ++k) {
    for (std::int64_t i = 0; i < n; ++i) {
      const double scale = std::sqrt((k == 0 ? 1.0 : 2.0) / static_cast<double>(n));
      basis[to_size(k * n + i)] = scale * std::cos(M_PI * (static_cast<double>(i) + 0.5) *
                                                   static_cast<double>(k) / static_cast<double>(n));
    }
  }
  return basis;
}

/// The transform of one n³×3 volume, axis by axis; `inverse` goes from modes to voxels.
void transform(const std::vector<double>& basis, std::int64_t n, bool inverse, std::vector<double>& volume,
               std::vector<double>& scratch) {
  scratch.resize(volume.size());
  std::int64_t inner = kChannels;
  for (int axis = 0; axis < 3; ++axis, inner *= n) {
    const std::int64_t outer = std::ssize(volume) / (n * inner);
    std::fill(scratch.begin(), scratch.end(), 0.0);
    for (std::int64_t o = 0; o < outer; ++o) {
      for (std::int64_t a = 0; a < n; ++a) {
        for (std::int64_t b = 0; b < n; ++b) {
          const double factor = basis[to_size(inverse ? b * n + a : a * n + b)];
          const double* from = volume.data() + (o * n + b) * inner;
          double* to = scratch.data() + (o * n + a) * inner;
          for (std::int64_t i = 0; i < inner; ++i) to[i] += factor * from[i];
        }
      }
    }
    volume.swap(scratch);
  }
}

/// Samples from a counter of their own for each split and role, so that a source never shares its normal
/// numbers with its target.
class GaussianSampler : public Dataset {
 public:
  GaussianSampler(const DatasetConfig& config, Split split, std::array<std::int64_t, 4> shape)
      : shape_(shape), stream_(2 * static_cast<std::uint64_t>(split) + role_index(config)) {}

  [[nodiscard]] std::array<std::int64_t, 4> sample_shape() const override { return shape_; }
  [[nodiscard]] std::int64_t size() const override { return -1; }

  void draw_part(const BatchPart& part, float* out, SampleLabel* labels) override {
    if (labels != nullptr) std::fill_n(labels, part.count, SampleLabel{});
    draw_values(part, out);
  }

 protected:
  /// Independent standard normal values of the part's samples.
  void draw_normal(const BatchPart& part, float* out) const {
    const RandomState& state = part.state;
    const std::int64_t values = shape_[0] * shape_[1] * shape_[2] * shape_[3];
    const std::uint64_t seed = state.seed + 0x9E3779B97F4A7C15U * stream_;
    for (std::int64_t i = 0; i < part.count; ++i) {
      const RandomState sample{seed, state.purpose,
                               (state.step << 20) + static_cast<std::uint64_t>(part.first + i)};
      float* to = out + i * values;
      for (std::int64_t first = 0; first < values; first += 4) {
        const PhiloxCounter words = sample.block(static_cast<std::uint32_t>(first / 4));
        const auto low = normal_from(words[0], words[1]);
        const auto high = normal_from(words[2], words[3]);
        const std::array<float, 4> four{low[0], low[1], high[0], high[1]};
        std::copy_n(four.begin(), std::min<std::int64_t>(4, values - first), to + first);
      }
    }
  }
  virtual void draw_values(const BatchPart& part, float* out) = 0;

 private:
  std::array<std::int64_t, 4> shape_;
  std::uint64_t stream_;
};

class VectorSampler final : public GaussianSampler {
 public:
  VectorSampler(const DatasetConfig& config, Split split)
      : GaussianSampler(config, split, {1, 1, 1, config.dimension}) {
    const GaussianVectors g = gaussian_vectors(config);
    root_ = matrix_power(square(g.covariance), 0.5).cast<float>();
    mean_ = Eigen::Map<const Eigen::RowVectorXd>(g.mean.data(), g.dimension).cast<float>();
  }

 private:
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  // The product's last bits depend on how many rows it has, so a part is cut from the whole batch.
  void draw_values(const BatchPart& part, float* out) override {
    normal_.resize(part.batch, mean_.size());
    scratch_.resize(part.batch, mean_.size());
    draw_normal({part.state, part.batch}, normal_.data());
    scratch_.noalias() = normal_ * root_;
    Eigen::Map<Rows>(out, part.count, mean_.size()) =
        scratch_.middleRows(part.first, part.count).rowwise() + mean_;
  }

  Rows root_, normal_, scratch_;
  Eigen::RowVectorXf mean_;
};

class FieldSampler final : public GaussianSampler {
 public:
  FieldSampler(const DatasetConfig& config, Split split)
      : GaussianSampler(config, split, {config.resolution, config.resolution, config.resolution, kChannels}),
        field_(gaussian_field(config)),
        basis_(cosine_basis(field_.extent)) {}

 private:
  void draw_values(const BatchPart& part, float* values) override {
    draw_normal(part, values);
    const std::size_t each = field_.mean.size();
    volume_.resize(each);
    for (std::int64_t i = 0; i < part.count; ++i) {
      float* sample = values + i * static_cast<std::int64_t>(each);
      for (std::size_t k = 0; k < each; ++k) {
        volume_[k] = field_.mean[k] + field_.deviation[k] * static_cast<double>(sample[k]);
      }
      transform(basis_, field_.extent, true, volume_, scratch_);
      for (std::size_t k = 0; k < each; ++k) sample[k] = static_cast<float>(volume_[k]);
    }
  }

  GaussianField field_;
  std::vector<double> basis_, volume_, scratch_;
};

std::vector<float> map_vectors(const DatasetConfig& source, const DatasetConfig& target,
                               const std::vector<float>& x, std::int64_t count, double* variance) {
  const GaussianVectors p = gaussian_vectors(source);
  const GaussianVectors q = gaussian_vectors(target);
  const Matrix a = square(optimal_matrix(p, q));
  const Eigen::Map<const Eigen::RowVectorXd> from(p.mean.data(), p.dimension);
  const Eigen::Map<const Eigen::RowVectorXd> to(q.mean.data(), q.dimension);
  using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Matrix rows = Eigen::Map<const Rows>(x.data(), count, p.dimension).cast<double>();
  std::vector<float> mapped(x.size());
  Eigen::Map<Rows>(mapped.data(), count, p.dimension) =
      (((rows.rowwise() - from) * a).rowwise() + to).cast<float>();
  *variance = square(q.covariance).trace();
  return mapped;
}

std::vector<float> map_fields(const DatasetConfig& source, const DatasetConfig& target,
                              const std::vector<float>& x, std::int64_t count, double* variance) {
  const GaussianField p = gaussian_field(source);
  const GaussianField q = gaussian_field(target);
  const std::vector<double> basis = cosine_basis(p.extent);
  const std::size_t each = p.mean.size();
  std::vector<double> volume(each);
  std::vector<double> scratch;
  std::vector<float> mapped(x.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const auto offset = static_cast<std::ptrdiff_t>(i) * static_cast<std::ptrdiff_t>(each);
    std::copy_n(x.begin() + offset, each, volume.begin());
    transform(basis, p.extent, false, volume, scratch);
    for (std::size_t k = 0; k < each; ++k) {
      volume[k] = q.mean[k] + q.deviation[k] / p.deviation[k] * (volume[k] - p.mean[k]);
    }
    transform(basis, p.extent, true, volume, scratch);
    std::transform(volume.begin(), volume.end(), mapped.begin() + offset,
                   [](double v) { return static_cast<float>(v); });
  }
  *variance = 0;
  for (const double d : q.deviation) *variance += d * d;
  return mapped;
}

}  // namespace

GaussianVectors gaussian_vectors(const DatasetConfig& config) {
  const std::int64_t n = config.dimension;
  Random random = parameters_of(config);
  Matrix normal(n, n);
  for (Eigen::Index i = 0; i < normal.size(); ++i) normal.data()[i] = static_cast<double>(random.normal());
  const Matrix rotation = Eigen::HouseholderQR<Matrix>(normal).householderQ();
  Eigen::VectorXd spectrum(n);
  for (double& v : spectrum) v = log_uniform(random, 0.25, 4);
  GaussianVectors g{n, std::vector<double>(to_size(n)), {}};
  for (double& m : g.mean) m = static_cast<double>(random.uniform(-1, 1));
  g.covariance = row_major(rotation * spectrum.asDiagonal() * rotation.transpose());
  return g;
}

GaussianField gaussian_field(const DatasetConfig& config) {
  const std::int64_t n = config.resolution;
  const std::int64_t modes = n * n * n;
  Random random = parameters_of(config);
  GaussianField f{n, std::vector<double>(to_size(modes * kChannels), 0.0), {}};
  f.deviation = f.mean;
  for (std::int64_t c = 0; c < kChannels; ++c) {
    const auto alpha = static_cast<double>(random.uniform(1, 2));
    const double variance = log_uniform(random, 0.125, 0.5);
    const auto mean = static_cast<double>(random.uniform(-0.5, 0.5));
    double total = 0;
    for (std::int64_t k = 0; k < modes; ++k) {
      const std::int64_t square = (k / n / n) * (k / n / n) + (k / n % n) * (k / n % n) + (k % n) * (k % n);
      const double power = std::pow(1 + static_cast<double>(square), -alpha);
      f.deviation[to_size(k * kChannels + c)] = std::sqrt(power);
      total += power;
    }
    // The transform is orthonormal: a volume's variance is the sum over its modes.
    const double scale = std::sqrt(variance * static_cast<double>(modes) / total);
    for (std::int64_t k = 0; k < modes; ++k) f.deviation[to_size(k * kChannels + c)] *= scale;
    f.mean[to_size(c)] = mean * std::sqrt(static_cast<double>(modes));
  }
  return f;
}

std::vector<double> optimal_matrix(const GaussianVectors& source, const GaussianVectors& target) {
  VOXOT_CHECK(source.dimension == target.dimension, "gaussian: source of {} dimensions, target of {}",
              source.dimension, target.dimension);
  const Matrix from = square(source.covariance);
  const Matrix root = matrix_power(from, 0.5);
  const Matrix inverse = matrix_power(from, -0.5);
  return row_major(inverse * matrix_power(root * square(target.covariance) * root, 0.5) * inverse);
}

std::vector<float> optimal_gaussian_map(const DatasetConfig& source, const DatasetConfig& target,
                                        const std::vector<float>& x, std::int64_t count, double* variance) {
  if (source.field != target.field ||
      (source.field ? source.resolution != target.resolution : source.dimension != target.dimension)) {
    fail_usage("gaussian: the optimal map is known between two of one shape");
  }
  return source.field ? map_fields(source, target, x, count, variance)
                      : map_vectors(source, target, x, count, variance);
}

std::unique_ptr<Dataset> open_gaussian(const DatasetConfig& config, Split split,
                                       const std::filesystem::path&) {
  (void)order_of(config, true);
  if (config.field) return std::make_unique<FieldSampler>(config, split);
  return std::make_unique<VectorSampler>(config, split);
}

std::optional<KnownTruth> gaussian_truth(const DatasetConfig& source, const DatasetConfig& target,
                                         const std::filesystem::path& data_directory,
                                         const RandomState& state, std::int64_t count) {
  const std::unique_ptr<Dataset> data = open_gaussian(source, Split::test, data_directory);
  const auto [d, h, w, c] = data->sample_shape();
  KnownTruth truth;
  truth.count = count;
  truth.source.resize(to_size(count * d * h * w * c));
  data->draw({state, count}, truth.source.data());
  truth.image = optimal_gaussian_map(source, target, truth.source, count, &truth.target_variance);
  return truth;
}

}  // namespace voxot
