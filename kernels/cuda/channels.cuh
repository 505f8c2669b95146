#pragma once
// What the kernels over rows of channels share: accesses of V channels at once, and a launch with a row to a
// few neighbouring threads.
#include <array>
#include <initializer_list>

#include "kernels/cuda/vectors.cuh"

namespace voxot::cuda {

template <int V, class T>
VOXOT_DEVICE void load_channels(const T* from, Compute<T> (&values)[V]) {
  const auto stored = load_vector<V>(from);
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) values[k] = load(stored.values[k]);
}

template <Write W, int V, class T>
VOXOT_DEVICE void put_channels(T* to, const Compute<T> (&values)[V]) {
  simt::Vector<T, V> result;
  if constexpr (W == Write::accumulate) result = load_vector<V>(to);
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) put<W>(result.values[k], values[k]);
  store_vector<V>(to, result);
}

/// Calls body.operator()<V>() with the channels of one access: a whole vector where it divides all
/// of `counts` (channels, pitches, offsets) and all of `addresses` are aligned to it, else 1.
template <class T, class Body>
void with_width(std::initializer_list<std::int64_t> counts, std::initializer_list<const void*> addresses,
                Body&& body) {
  constexpr int kWide = vector_size<T>();
  bool wide = true;
  for (const std::int64_t count : counts) wide = wide && count % kWide == 0;
  for (const void* address : addresses) wide = wide && aligned(address);
  if (wide) return body.template operator()<kWide>();
  body.template operator()<1>();
}

/// Division of 0 ≤ n < 2³¹ by a number known at launch, by the upper half of one 32-bit product. Source:
/// Granlund, Montgomery, PLDI 1994.
struct Divisor {
  std::uint32_t divisor = 1;
  std::uint32_t factor = 1;
  std::uint32_t shift = 0;

  Divisor() = default;
  explicit Divisor(std::int64_t d) : divisor(static_cast<std::uint32_t>(d)) {
    while ((std::uint64_t{1} << shift) < divisor) ++shift;
    factor = static_cast<std::uint32_t>(
        ((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift) - divisor)) / divisor + 1);
  }
  VOXOT_DEVICE int divide(int n) const {
    const auto u = static_cast<std::uint32_t>(n);
    const auto high = static_cast<std::uint32_t>((static_cast<std::uint64_t>(u) * factor) >> 32);
    return static_cast<int>((high + u) >> shift);
  }
  /// Divides n and returns the remainder.
  VOXOT_DEVICE int split(int& n) const {
    const int quotient = divide(n);
    const int rest = n - quotient * static_cast<int>(divisor);
    n = quotient;
    return rest;
  }
};

/// A voxel's place, from its row in N×D×H×W.
struct Voxel {
  int n, d, h, w;
};
struct Extent {
  int size[3];
  Divisor divisors[3];

  explicit Extent(const std::array<std::int64_t, 3>& extent) {
    for (std::size_t a = 0; a < 3; ++a) {
      size[a] = static_cast<int>(extent[a]);
      divisors[a] = Divisor(extent[a]);
    }
  }
  VOXOT_DEVICE Voxel voxel(int row) const {
    Voxel v{};
    v.w = divisors[2].split(row);
    v.h = divisors[1].split(row);
    v.d = divisors[0].split(row);
    v.n = row;
    return v;
  }
  VOXOT_DEVICE std::int64_t row(int n, int d, int h, int w) const {
    return ((static_cast<std::int64_t>(n) * size[0] + d) * size[1] + h) * size[2] + w;
  }
};

/// The row of this thread in a launch over rows; its channel vectors are thread_index().x, +
/// block_extent().x, …
VOXOT_DEVICE std::int64_t row_of_thread() {
  return static_cast<std::int64_t>(simt::block_index().x) * simt::block_extent().y + simt::thread_index().y;
}

/// Launches kernel(rows, arguments…) with 256 threads a block: 1 to 32 of them, a power of two, take the
/// `vectors` of a row, so that a warp's accesses are neighbours and the row is decoded once for several of
/// them.
template <class... P, class... A>
void launch_rows(const char* name, const Stream& stream, std::int64_t rows, std::int64_t vectors,
                 void (*kernel)(int, P...), const A&... arguments) {
  if (rows == 0 || vectors == 0) return;
  VOXOT_CHECK(rows <= 0x7FFFFFFF, "{}: {} rows, the device's kernels take 2³¹ − 1", name, rows);
  unsigned across = 1;
  while (across < 32 && across < vectors) across *= 2;
  const unsigned down = 256 / across;
  simt::launch({name, {simt::blocks_for(rows, down)}, {across, down}, 0, stream}, kernel,
               static_cast<int>(rows), arguments...);
}

}  // namespace voxot::cuda
