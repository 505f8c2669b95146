#pragma once
// Devices, element types and streams: all that the kernel contracts share.
#include <cstddef>
#include <cstdint>

#include "kernels/check.h"

namespace voxot {

/// Where memory lies and kernels run.
enum class Device : std::uint8_t { cpu, cuda };
inline constexpr int kDeviceCount = 2;

/// Storage types. bf16 is the upper half of an IEEE fp32.
enum class DType : std::uint8_t { f32, bf16, f64 };

/// Bytes of an element; and names: "bf16", "fp32", "fp64", "cpu", "cuda".
constexpr std::size_t size_of(DType dtype) { return dtype == DType::bf16 ? 2 : dtype == DType::f32 ? 4 : 8; }
constexpr const char* name_of(DType dtype) {
  return dtype == DType::bf16 ? "bf16" : dtype == DType::f32 ? "fp32" : "fp64";
}
/// As messages say it.
constexpr const char* name_of(Device device) { return device == Device::cpu ? "cpu" : "cuda"; }

/// Where work is queued. On the CPU calls return when the work is done; `handle` is the CUDA stream
/// elsewhere.
struct Stream {
  Device device = Device::cpu;
  void* handle = nullptr;
};

/// How a kernel writes a gradient.
enum class Write : std::uint8_t { overwrite, accumulate };

}  // namespace voxot
