#pragma once
// Where networks run, and in which arithmetic: what --device and --precision mean.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

#include "kernels/device.h"

namespace voxot {

/// auto: cuda where a real GPU can be used, else cpu; an emulated device must be asked for. Throws UsageError
/// for cuda where there is none.
Device choose_device(const std::string& word);

/// fp32, tf32 or bf16 for a word of --precision. auto: on cuda bf16; on the CPU fp32, whose Winograd
/// convolutions outrun bf16 (docs/notes/figures.md). Also tells the kernels whether they may use TF32. Throws
/// UsageError for what the device cannot do.
std::string choose_precision(const std::string& word, Device device);
/// How a chosen precision stores activations: TF32 is fp32 in memory.
DType compute_dtype(const std::string& precision);

/// What --autotune says of the choice among kernels: measure (and record what the run uses in `record`), off,
/// or a file of earlier choices to keep to. Nothing happens on the CPU.
void configure_kernels(const std::string& word, Device device, const std::filesystem::path& record);

/// "AMD EPYC ..." or "NVIDIA H200, ..."
std::string describe(Device device);
/// What the last bits of sums depend on: "2 threads, AVX-512, bf16", or the GPU.
std::string arithmetic_of(Device device);

void add_device_option(CLI::App& command, std::string& device);
void add_autotune_option(CLI::App& command, std::string& word);
void add_precision_option(CLI::App& command, std::string& precision);

}  // namespace voxot
