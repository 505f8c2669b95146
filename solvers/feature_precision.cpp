#include "solvers/feature_precision.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/sizes.h"

namespace voxot {
namespace {

/// a − b, and whether it is that to the last bit (Knuth's two-sum; both are smaller than 2^1022).
std::pair<double, bool> difference(double a, double b) {
  const double d = a - b;
  const double seen = d - a;
  const double error = (a - (d - seen)) + (-b - seen);
  return {d, error == 0};
}

}  // namespace

Fp32Features fp32_features(const Tensor& source, const Tensor& target, bool centred) {
  Fp32Features narrow{Tensor::empty(source.shape()), Tensor::empty(target.shape()), true};
  const std::int64_t width = source.extent(1);
  const std::vector<double> origin =
      centred ? std::vector<double>(source.as<double>(), source.as<double>() + width)
              : std::vector<double>(to_size(width));
  for (const auto& [from, to] : {std::pair{&source, &narrow.source}, std::pair{&target, &narrow.target}}) {
    for (std::int64_t i = 0; i < from->count(); ++i) {
      const auto [d, whole] = difference(from->as<double>()[i], origin[to_size(i % width)]);
      const auto value = static_cast<float>(d);
      to->as<float>()[i] = value;
      narrow.exact = narrow.exact && whole && static_cast<double>(value) == d;
    }
  }
  return narrow;
}

bool fp32_squares(const Tensor& source, const Tensor& target) {
  // In the largest square as many digits below it as fp32 has; sums of D squares, with a margin.
  constexpr double kLeast = static_cast<double>(std::numeric_limits<float>::min()) * 0x1p30;
  constexpr double kMost = static_cast<double>(std::numeric_limits<float>::max()) / 16;
  const std::int64_t width = source.extent(1);
  const float* const first = source.as<float>();
  std::vector<float> low(first, first + width);
  std::vector<float> high = low;
  for (const Tensor* set : {&source, &target}) {
    for (const float* row = set->as<float>(); row < set->as<float>() + set->count(); row += width) {
      for (std::size_t k = 0; k < low.size(); ++k) {
        low[k] = std::min(low[k], row[k]);
        high[k] = std::max(high[k], row[k]);
      }
    }
  }
  double widest = 0;
  double bound = 0;  // of a squared distance
  for (std::size_t k = 0; k < low.size(); ++k) {
    const double range = static_cast<double>(high[k]) - static_cast<double>(low[k]);
    widest = std::max(widest, range * range);
    bound += range * range;
  }
  return widest == 0 || (widest / static_cast<double>(width) >= kLeast && bound <= kMost);
}

}  // namespace voxot
