#include "kernels/gather.h"

#include <cstring>

#include "kernels/cpu/scalar.h"

namespace voxot::kernels {
namespace {

void gather(const Stream&, DType dtype, std::int64_t width, std::int64_t count, const void* from,
            const std::int32_t* rows, void* out) {
  const auto bytes = static_cast<std::int64_t>(size_of(dtype)) * width;
#pragma omp parallel for schedule(static) if (count * width > cpu::kParallelGrain)
  for (std::int64_t i = 0; i < count; ++i) {
    std::memcpy(static_cast<std::byte*>(out) + i * bytes,
                static_cast<const std::byte*>(from) + rows[i] * bytes, static_cast<std::size_t>(bytes));
  }
}

const Implement gather_rows_cpu{gather_rows, Device::cpu, gather};

}  // namespace
}  // namespace voxot::kernels
