#pragma once
// Which variant of a kernel runs: measured once for each set of parameters and remembered in the user's cache
// folder, one file for each device and version.
#include <filesystem>
#include <string>
#include <vector>

#include "kernels/kernel.h"

namespace voxot::kernels {

/// Who chooses a variant.
enum class Autotune : std::uint8_t {
  off,      // rules of thumb alone: the same choice on every machine of a kind
  pinned,   // what the file says, else rules of thumb; nothing is measured or written
  measure,  // what the file says, else what the user's cache says, else the fastest of a measurement
};

/// How variants are chosen from now on.
struct AutotuneOptions {
  Autotune mode = Autotune::measure;
  /// pinned: read. measure: read where it is there, and every choice that is used is added to it, so that a
  /// run which goes on with its file goes on with its kernels. May be empty.
  std::filesystem::path file{};
  /// Measure on an emulated device too, whose times mean nothing: for tests.
  bool even_emulated = false;
};

/// One decision, for people to read.
struct KernelChoice {
  std::string call;  // "forward bf16 N64 16x16x16 C32-64 k3x3x3 s1x1x1 p1x1x1 d1x1x1"
  std::string variant;
  std::string reason;  // "measured 0.123 ms", "rule of thumb", "forced"
};

/// Throws Error when a pinned file cannot be read or names an unknown variant.
inline constinit Kernel<void(const AutotuneOptions&)> configure_autotune{"configure_autotune"};
/// Every decision so far, and those that the file holds.
inline constinit Kernel<void(std::vector<KernelChoice>*)> list_choices{"list_choices"};

}  // namespace voxot::kernels
