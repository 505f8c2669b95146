#include "kernels/gather.h"

#include <cstring>

#include "kernels/cpu/scalar.h"
#include "kernels/sizes.h"

namespace voxot::kernels {
namespace {

void gather(const Stream&, DType dtype, const GatherRows& g) {
  const auto bytes = static_cast<std::int64_t>(size_of(dtype)) * g.width;
#pragma omp parallel for schedule(static) if (g.count * g.width > cpu::kParallelGrain)
  for (std::int64_t i = 0; i < g.count; ++i) {
    std::memcpy(static_cast<std::byte*>(g.out) + i * bytes,
                static_cast<const std::byte*>(g.from) + g.rows[i] * bytes, to_size(bytes));
  }
}

const Implement gather_rows_cpu{gather_rows, Device::cpu, gather};

}  // namespace
}  // namespace voxot::kernels
