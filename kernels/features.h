#pragma once
// What the processor and the GPU at hand can do.
#include <string>

#include "kernels/kernel.h"

namespace voxot::kernels {

/// Dot products of bf16 in hardware (AVX512-BF16 or AMX): only then does bf16 pay on the CPU.
bool cpu_has_bf16();
/// "AMD EPYC ..., 2 threads, AVX-512, bf16"
std::string describe_cpu();
/// (where to put the number of CUDA devices that can be used now)
inline constinit Kernel<void(int*)> count_devices{"count_devices"};
/// (where to put a description)
inline constinit Kernel<void(std::string*)> describe_device{"describe_device"};
/// 0 where CUDA was not built, has no driver or finds no GPU. The emulated device counts.
int cuda_devices();
/// "NVIDIA H200, sm_90, ..."; throws Error where there is none.
std::string describe_cuda();
/// Threads that kernels use; 0 leaves the choice to OpenMP.
void set_threads(int count);
int threads();
/// Version of oneDNN and whatever else computes, for `voxot info`.
std::string describe_libraries();

}  // namespace voxot::kernels
