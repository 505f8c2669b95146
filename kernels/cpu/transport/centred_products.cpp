// Products as outer products: kPanel dimensions of both sets are centred, transposed and packed as
// [group of points][dimension][point of the group], and kRows points of x by two vectors of y keep their sums
// in registers while the dimensions pass. The next panel is fetched from memory meanwhile: the features are
// read once, and a core multiplies about as fast as it could read them.
//
// A dimension in which all points of one set agree, as in the empty border of a volume, takes that value as
// its origin. It then adds to squares alone, and is left out of the packed panel.
#include "kernels/cpu/transport/centred_products.h"

#include <algorithm>
#include <array>

#include "kernels/cpu/aligned.h"
#include "kernels/cpu/lanes.h"
#include "kernels/sizes.h"

namespace voxot::cpu {
namespace {

/// Dimensions: two groups of y stay in the first cache.
constexpr std::int64_t kPanel = 128;
/// Points of x whose sums are in registers, times two vectors: half of the registers there are.
constexpr std::int64_t kRows = kVectorBytes == 64 ? 8 : 4;
constexpr std::int64_t kFetchStep = 16;  // dimensions between whose products lines are fetched
constexpr std::int64_t kLine = 64;       // bytes
/// Points whose mean is the origin: the mean of so few serves as that of all does, up to 1/kSampled of the
/// spread.
constexpr std::int64_t kSampled = 8;

template <class T>
constexpr std::int64_t whole_lanes(std::int64_t count) {
  return (count + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

template <class T>
T* scratch(std::size_t which, std::int64_t count) {
  static thread_local std::array<AlignedScratch<T>, 5> buffers;
  return buffers[which].get(count);
}

/// Whether no element is 0.
template <class Bits>
bool everywhere(Bits v) {
  const auto zeros = std::bit_cast<std::array<std::int64_t, kVectorBytes / 8>>(v == 0);
  std::int64_t any = 0;
  for (const std::int64_t z : zeros) any |= z;
  return any == 0;
}

/// A panel of one set, in vectors of dimensions.
template <class T>
struct Glance {
  using V = typename Lanes<T>::Type;
  using Bits = typename LaneBits<T>::Type;
  static constexpr auto kBlocks = to_size(kPanel / kLanes<T>);

  std::array<V, kBlocks> first{};         // the first point
  std::array<V, kBlocks> sum{};           // of the first kSampled
  std::array<Bits, kBlocks> differing{};  // not 0 where some point differs from the first

  /// `Whole`: the panel has all of its kPanel dimensions.
  template <bool Whole>
  void look(Points<T> points, std::int64_t dimension, std::int64_t from, std::int64_t width);
};

template <class T>
template <bool Whole>
void Glance<T>::look(Points<T> points, std::int64_t dimension, std::int64_t from, std::int64_t width) {
  const T* const begin = points.data + from;
  const auto vector_of = [&](std::int64_t point, std::size_t block) {
    const auto k = static_cast<std::int64_t>(block) * kLanes<T>;
    return load(begin + point * dimension + k, Whole ? kLanes<T> : std::max<std::int64_t>(width - k, 0));
  };
  std::array<Bits, kBlocks> found{};
  const auto compare = [&](std::int64_t point) {
#pragma GCC unroll 16
    for (std::size_t b = 0; b < kBlocks; ++b) {
      found[b] |= std::bit_cast<Bits>(vector_of(point, b)) ^ std::bit_cast<Bits>(first[b]);
    }
  };
  const std::int64_t sampled = std::min(points.count, kSampled);
  for (std::size_t b = 0; b < kBlocks; ++b) first[b] = vector_of(0, b);
  for (std::int64_t i = 0; i < sampled; ++i) {
    for (std::size_t b = 0; b < kBlocks; ++b) sum[b] += vector_of(i, b);
    compare(i);
  }
  if (!std::all_of(found.begin(), found.end(), everywhere<Bits>)) {
    for (std::int64_t i = sampled; i < points.count; ++i) compare(i);
  }
  differing = found;
}

/// What both sets share of a panel.
template <class T>
struct Panel {
  using V = typename Lanes<T>::Type;
  static constexpr auto kBlocks = to_size(kPanel / kLanes<T>);

  std::array<V, kBlocks> origin;
  std::array<std::uint8_t, kPanel> kept;  // the dimension is multiplied
  std::array<bool, kBlocks> x_is_origin;  // all of x in this block
  std::array<bool, kBlocks> y_is_origin;
  std::int64_t first = 0;
  std::int64_t width = 0;
  std::int64_t count = 0;  // of dimensions that are kept

  void choose(Points<T> x, Points<T> y, std::int64_t dimension, std::int64_t from);
};

template <class T>
void Panel<T>::choose(Points<T> x, Points<T> y, std::int64_t dimension, std::int64_t from) {
  using Bits = typename LaneBits<T>::Type;
  first = from;
  width = std::min(kPanel, dimension - from);
  count = 0;
  const T share =
      static_cast<T>(1 / static_cast<double>(std::min(x.count, kSampled) + std::min(y.count, kSampled)));
  Glance<T> of_x;
  Glance<T> of_y;
  if (width == kPanel) {
    of_x.template look<true>(x, dimension, from, width);
    of_y.template look<true>(y, dimension, from, width);
  } else {
    of_x.template look<false>(x, dimension, from, width);
    of_y.template look<false>(y, dimension, from, width);
  }
  for (std::size_t b = 0; b < kBlocks; ++b) {
    const Bits x_differs = of_x.differing[b] != 0;
    const Bits both = x_differs & (of_y.differing[b] != 0);
    const V still = x_differs ? of_y.first[b] : of_x.first[b];
    origin[b] = both ? (of_x.sum[b] + of_y.sum[b]) * share : still;
    x_is_origin[b] = everywhere((of_x.differing[b] == 0) & (of_x.first[b] == origin[b]));
    y_is_origin[b] = everywhere((of_y.differing[b] == 0) & (of_y.first[b] == origin[b]));
    for (std::int64_t lane = 0; lane < kLanes<T>; ++lane) {
      std::uint8_t& keep_it = kept[b * to_size(kLanes<T>) + to_size(lane)];
      keep_it = both[lane] != 0 ? 1 : 0;
      count += keep_it;
    }
  }
}

/// to [group, kPanel, lane] ← the panel's kept dimensions of the points less the origin, squares += ‖·‖² over
/// all of its dimensions. Lanes without a point are 0.
template <class T>
void pack(const Panel<T>& panel, const std::array<bool, Panel<T>::kBlocks>& is_origin, Points<T> points,
          std::int64_t dimension, T* to, T* squares) {
  using V = typename Lanes<T>::Type;
  constexpr auto kLane = to_size(kLanes<T>);
  for (std::int64_t group = 0; group < points.count; group += kLanes<T>) {
    const T* const from = points.data + group * dimension + panel.first;
    const auto present = to_size(std::min(kLanes<T>, points.count - group));
    T* out = to + group * kPanel;
    V sum{};
    for (std::int64_t k = 0; k < panel.width; k += kLanes<T>) {
      const auto at = to_size(k / kLanes<T>);
      if (is_origin[at]) continue;
      std::array<V, kLane> v{};
      for (std::size_t i = 0; i < present; ++i) {
        v[i] = load(from + static_cast<std::int64_t>(i) * dimension + k, panel.width - k) - panel.origin[at];
      }
      transpose<T>(v);
#pragma GCC unroll 16
      for (std::size_t i = 0; i < kLane; ++i) {
        sum += v[i] * v[i];
        *reinterpret_cast<V*>(out) = v[i];
        out += panel.kept[to_size(k) + i] * kLanes<T>;
      }
    }
    *reinterpret_cast<V*>(squares + group) += sum;
  }
}

/// Lines of the next panel's points, fetched a few at a time.
template <class T>
class Ahead {
 public:
  Ahead(Points<T> x, Points<T> y, std::int64_t dimension, std::int64_t first, std::int64_t steps)
      : stride_(dimension), width_(std::min(kPanel, dimension - first)) {
    if (width_ <= 0 || steps <= 0) return;
    sides_ = {{{x.data + first, x.count}, {y.data + first, y.count}}};
    const std::int64_t lines = (width_ + kStep - 1) / kStep * (x.count + y.count);
    share_ = (lines + steps - 1) / steps;
    left_ = lines;
  }
  void fetch() {
    for (std::int64_t n = std::min(share_, left_); n > 0; --n, --left_) {
      if (row_ == sides_[side_].count) {
        row_ = 0;
        ++side_;
      }
      __builtin_prefetch(sides_[side_].data + row_ * stride_ + at_, 0, 2);
      at_ += kStep;
      if (at_ < width_) continue;
      at_ = 0;
      ++row_;
    }
  }

 private:
  static constexpr std::int64_t kStep = kLine / static_cast<std::int64_t>(sizeof(T));

  std::int64_t stride_;
  std::int64_t width_;
  std::array<Points<T>, 2> sides_{};
  std::int64_t share_ = 0;
  std::int64_t left_ = 0;
  std::size_t side_ = 0;
  std::int64_t row_ = 0;
  std::int64_t at_ = 0;
};

/// to [kRows, pitch] += x·y of `count` dimensions: kRows points of a group by `Groups` groups.
template <class T, int Groups>
void multiply(std::int64_t count, const T* x, const T* y, T* to, std::int64_t pitch, Ahead<T>& ahead) {
  using V = typename Lanes<T>::Type;
  constexpr std::int64_t kL = kLanes<T>;
  V sum[kRows][Groups]{};
  for (std::int64_t k = 0; k < count;) {
    ahead.fetch();
    for (const std::int64_t end = std::min(k + kFetchStep, count); k < end; ++k) {
      V right[Groups];
#pragma GCC unroll 2
      for (int j = 0; j < Groups; ++j) {
        right[j] = *reinterpret_cast<const V*>(y + j * kPanel * kL + k * kL);
        keep(right[j]);
      }
#pragma GCC unroll 8
      for (std::int64_t i = 0; i < kRows; ++i) {
        V left = splat(x[k * kL + i]);
        keep(left);
#pragma GCC unroll 2
        for (int j = 0; j < Groups; ++j) sum[i][j] += left * right[j];
      }
    }
  }
#pragma GCC unroll 8
  for (std::int64_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < Groups; ++j) *reinterpret_cast<V*>(to + i * pitch + j * kL) += sum[i][j];
  }
}

/// All products of a packed panel.
template <class T>
void multiply_panel(std::int64_t count, const T* x, std::int64_t rows, const T* y, std::int64_t columns,
                    const CentredProducts<T>& out, Ahead<T>& ahead) {
  constexpr std::int64_t kL = kLanes<T>;
  for (std::int64_t j = 0; j < columns; j += 2 * kL) {
    for (std::int64_t i = 0; i < rows; i += kRows) {
      const T* const left = x + i / kL * kL * kPanel + i % kL;
      T* const to = out.products + i * out.pitch + j;
      if (j + kL < columns) {
        multiply<T, 2>(count, left, y + j * kPanel, to, out.pitch, ahead);
      } else {
        multiply<T, 1>(count, left, y + j * kPanel, to, out.pitch, ahead);
      }
    }
  }
}

}  // namespace

template <class T>
CentredProducts<T> centred_products(Points<T> x, Points<T> y, std::int64_t dimension) {
  const std::int64_t rows = whole_lanes<T>(x.count);
  const std::int64_t columns = whole_lanes<T>(y.count);
  T* const left = scratch<T>(0, rows * kPanel);
  T* const right = scratch<T>(1, columns * kPanel);
  const CentredProducts<T> out{scratch<T>(2, rows * columns), scratch<T>(3, rows), scratch<T>(4, columns),
                               columns};
  std::fill_n(out.products, rows * columns, T{0});
  std::fill_n(out.x_squares, rows, T{0});
  std::fill_n(out.y_squares, columns, T{0});
  const std::int64_t pairs = (x.count + kRows - 1) / kRows * ((columns / kLanes<T> + 1) / 2);
  Panel<T> panel;
  for (std::int64_t k = 0; k < dimension; k += kPanel) {
    panel.choose(x, y, dimension, k);
    pack(panel, panel.x_is_origin, x, dimension, left, out.x_squares);
    pack(panel, panel.y_is_origin, y, dimension, right, out.y_squares);
    Ahead<T> ahead(x, y, dimension, k + kPanel, pairs * ((panel.count + kFetchStep - 1) / kFetchStep));
    multiply_panel(panel.count, left, x.count, right, y.count, out, ahead);
  }
  return out;
}

template CentredProducts<float> centred_products(Points<float>, Points<float>, std::int64_t);
template CentredProducts<double> centred_products(Points<double>, Points<double>, std::int64_t);

}  // namespace voxot::cpu
