// kernels/finite.h: a block counts a span, 16 bytes a thread at a time where the address allows, and joins
// its threads' counts in shared memory. Launch: grid.x = spans, at most kSpans of them, whose table is an
// argument.
#include "kernels/finite.h"

#include <algorithm>

#include "kernels/cuda/vectors.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr unsigned kThreads = 512;
constexpr std::int64_t kSpans = 128;  // 2 KB of arguments, of the 4 KB that a launch may have

template <class T>
struct Table {
  const T* values[kSpans];
  std::int64_t counts[kSpans];
};

/// x − x is 0 for every finite x and NaN else.
template <class T>
VOXOT_DEVICE int not_finite(T value) {
  const auto v = load(value);
  return v - v == 0 ? 0 : 1;
}

template <class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1) count_kernel(Table<T> table, std::int32_t* counts) {
  constexpr int kV = vector_size<T>();
  VOXOT_SHARED(sums, int[kThreads / simt::kWarp]);
  const unsigned span = simt::block_index().x;
  const T* const values = table.values[span];
  const std::int64_t count = table.counts[span];
  const bool vectors = reinterpret_cast<std::uintptr_t>(values) % kVectorBytes == 0;
  const std::int64_t whole = vectors ? count / kV : 0;
  int bad = 0;
  for (std::int64_t i = simt::thread_index().x; i < whole; i += kThreads) {
    const simt::Vector<T, kV> v = load_vector<kV>(values + i * kV);
    VOXOT_UNROLL
    for (int k = 0; k < kV; ++k) bad += not_finite(v.values[k]);
  }
  for (std::int64_t i = whole * kV + simt::thread_index().x; i < count; i += kThreads)
    bad += not_finite(values[i]);
  bad = simt::warp_sum(bad);
  if (simt::lane() == 0) sums[simt::warp()] = bad;
  simt::sync_block();
  if (simt::thread_index().x != 0) return;
  int all = 0;
  for (unsigned w = 0; w < kThreads / simt::kWarp; ++w) all += sums[w];
  counts[span] = all;
}

void run(const Stream& stream, DType dtype, std::int64_t spans, const ValueSpan* of, std::int32_t* counts) {
  with_type(dtype, [&]<class T>() {
    for (std::int64_t first = 0; first < spans; first += kSpans) {
      const std::int64_t n = std::min(kSpans, spans - first);
      Table<T> table{};
      for (std::int64_t i = 0; i < n; ++i) {
        table.values[i] = static_cast<const T*>(of[first + i].values);
        table.counts[i] = of[first + i].count;
      }
      simt::launch({"count_nonfinite", {static_cast<unsigned>(n)}, {kThreads}, 0, stream}, count_kernel<T>,
                   table, counts + first);
    }
  });
}

const Implement count_nonfinite_cuda{count_nonfinite, Device::cuda, run};

}  // namespace
}  // namespace voxot::kernels
