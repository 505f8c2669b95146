#include "kernels/finite.h"

#include <algorithm>

#include "kernels/cpu/scalar.h"

namespace voxot::kernels {
namespace {

using namespace cpu;

constexpr std::int64_t kBlock = 16384;

/// x − x is 0 for every finite x and NaN else.
template <class T>
std::int32_t count_in(const T* values, std::int64_t count) {
  std::int32_t bad = 0;
#pragma omp parallel for schedule(static) reduction(+ : bad) if (count > 8 * kBlock)
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t last = std::min(first + kBlock, count);
    std::int32_t here = 0;
#pragma omp simd reduction(+ : here)
    for (std::int64_t i = first; i < last; ++i) {
      const auto v = load(values[i]);
      here += v - v == 0 ? 0 : 1;  // NOLINT(misc-redundant-expression)
    }
    bad += here;
  }
  return bad;
}

void run(const Stream&, DType dtype, std::int64_t spans, const ValueSpan* of, std::int32_t* counts) {
  with_type(dtype, [&]<class T>() {
    for (std::int64_t i = 0; i < spans; ++i) {
      counts[i] = count_in(static_cast<const T*>(of[i].values), of[i].count);
    }
  });
}

const Implement count_nonfinite_cpu{count_nonfinite, Device::cpu, run};

}  // namespace
}  // namespace voxot::kernels
