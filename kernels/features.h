#pragma once
// What the processor and the GPU at hand can do.
#include <array>
#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace voxot::kernels {

/// Dot products of bf16 in hardware (AVX512-BF16 or AMX): only then does bf16 pay on the CPU.
bool cpu_has_bf16();
/// "AMD EPYC ..., 2 threads, AVX-512, bf16"
std::string describe_cpu();
/// (where to put the number of CUDA devices that can be used now, and why where there is none)
inline constinit Kernel<void(int*, std::string*)> count_devices{"count_devices"};
/// (where to put a description)
inline constinit Kernel<void(std::string*)> describe_device{"describe_device"};
/// (where to put how the CUDA half was built: "on" or "emulated")
inline constinit Kernel<void(std::string*)> build_mode{"build_mode"};
/// "on", "emulated", or "off" where CUDA was not built.
std::string cuda_build();
/// 0 where CUDA was not built, has no driver, finds no GPU, or one for which the build has no code; `why`
/// gets the reason. The emulated device counts.
int cuda_devices(std::string* why = nullptr);
/// "NVIDIA H200, sm_90, ..."; throws Error where there is none.
std::string describe_cuda();
/// Threads that kernels use; 0 leaves the choice to OpenMP.
void set_threads(int count);
int threads();
/// Whether convolutions of fp32 on cuda may round their factors to TF32 (ten bits of mantissa).
void set_tf32(bool allowed);
bool tf32();
/// A contract and the devices that fulfil it, by name.
struct Contract {
  std::string name;
  std::array<bool, kDeviceCount> implemented{};
};
/// All of this program, by name.
std::vector<Contract> contracts();
/// Version of oneDNN and whatever else computes, for `voxot info`.
std::string describe_libraries();

}  // namespace voxot::kernels
