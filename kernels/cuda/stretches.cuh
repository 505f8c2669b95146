#pragma once
// Work over samples or rows that is bound by what it writes: a block takes a stretch of one of them.
#include "kernels/cuda/channels.cuh"

namespace voxot::cuda {

inline constexpr int kStretchThreads = 256;
inline constexpr int kGathered = 4096;  // values of a block that copies
static_assert(kGathered % 16 == 0, "stretches begin at whole vectors");

/// How the samples are cut into stretches; the last of a sample may be shorter.
struct Stretches {
  int count;  // of a sample
  int size;
  int length;
  Divisor divisor;

  Stretches(std::int64_t length_of_sample, int size_of_stretch)
      : count(static_cast<int>((length_of_sample + size_of_stretch - 1) / size_of_stretch)),
        size(size_of_stretch),
        length(static_cast<int>(length_of_sample)),
        divisor(count) {}
};

/// A block's stretch.
struct Stretch {
  int sample;
  int first;
  int length;
};

VOXOT_DEVICE Stretch stretch_of_block(const Stretches& s) {
  int sample = static_cast<int>(simt::block_index().x);
  const int first = s.divisor.split(sample) * s.size;
  const int rest = s.length - first;
  return {sample, first, rest < s.size ? rest : s.size};
}

/// The block copies its stretch of a sample that begins at `from` to one that begins at `to`.
template <int V, class T>
VOXOT_DEVICE void copy_stretch(const Stretch& stretch, const T* from, T* to) {
  from += stretch.first;
  to += stretch.first;
  for (int e = static_cast<int>(simt::thread_index().x) * V; e < stretch.length; e += kStretchThreads * V) {
    store_vector<V>(to + e, load_vector<V>(from + e));
  }
}

/// Launches kernel(stretches, arguments…) over n samples.
template <class... P, class... A>
void launch_stretches(const char* name, const Stream& stream, std::int64_t n, std::int64_t length, int size,
                      void (*kernel)(Stretches, P...), const A&... arguments) {
  if (n == 0) return;
  VOXOT_CHECK(length >= 1 && length <= 0x7FFFFFFF - size, "{}: {} values in a sample", name, length);
  const Stretches stretches(length, size);
  VOXOT_CHECK(n * stretches.count <= 0x7FFFFFFF, "{}: {} samples of {} values exceed a grid", name, n,
              length);
  simt::launch({name, {static_cast<unsigned>(n * stretches.count)}, {kStretchThreads}, 0, stream}, kernel,
               stretches, arguments...);
}

}  // namespace voxot::cuda
