#pragma once
// What the processor at hand can do.
#include <string>

namespace voxot::kernels {

/// Dot products of bf16 in hardware (AVX512-BF16 or AMX): only then does bf16 pay on the CPU.
bool cpu_has_bf16();
/// "AMD EPYC ..., 2 threads, AVX-512, bf16"
std::string describe_cpu();
/// Threads that kernels use; 0 leaves the choice to OpenMP.
void set_threads(int count);
int threads();
/// Version of oneDNN and whatever else computes, for `voxot info`.
std::string describe_libraries();

}  // namespace voxot::kernels
