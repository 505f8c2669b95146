#include "kernels/features.h"

#include <fmt/format.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

#include <fstream>
#include <map>

namespace voxot::kernels {

bool cpu_has_bf16() {
  // Instruction sets are sets of bits there.
  constexpr auto kBf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & kBf16) == kBf16;
}

std::string describe_cpu() {
  std::string model = "unknown processor";
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0 || line.find(": ") == std::string::npos) continue;
    model = line.substr(line.find(": ") + 2);
    break;
  }
  return fmt::format("{}, {} threads, {}{}", model, threads(), name_of(instruction_set()),
                     cpu_has_bf16() ? ", bf16" : "");
}

namespace {

/// Made when the first implementation registers, during static initialisation.
std::map<std::string, Contract>& registry() {
  static std::map<std::string, Contract> all;
  return all;
}

bool tf32_allowed = false;

}  // namespace

void note_implementation(const char* name, Device device) {
  Contract& contract = registry()[name];
  contract.name = name;
  contract.implemented[static_cast<std::size_t>(device)] = true;
}

std::vector<Contract> contracts() {
  std::vector<Contract> all;
  for (const auto& [name, contract] : registry()) all.push_back(contract);
  return all;
}

void set_tf32(bool allowed) { tf32_allowed = allowed; }
bool tf32() { return tf32_allowed; }

std::string cuda_build() {
  if (!build_mode.implemented(Device::cuda)) return "off";
  std::string mode;
  build_mode({Device::cuda, nullptr}, &mode);
  return mode;
}

int cuda_devices(std::string* why) {
  int count = 0;
  std::string reason = "this build has no CUDA";
  if (count_devices.implemented(Device::cuda)) count_devices({Device::cuda, nullptr}, &count, &reason);
  if (why != nullptr) *why = reason;
  return count;
}

std::string describe_cuda() {
  std::string text;
  describe_device({Device::cuda, nullptr}, &text);
  return text;
}

void set_threads(int count) {
  if (count > 0) omp_set_num_threads(count);
}

int threads() { return omp_get_max_threads(); }

std::string describe_libraries() {
  const dnnl_version_t* v = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", v->major, v->minor, v->patch);
}

}  // namespace voxot::kernels
