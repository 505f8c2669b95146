#include "apps/device.h"

#include <fmt/format.h>

#include "apps/choice.h"
#include "engine/progress.h"
#include "kernels/autotune.h"
#include "kernels/features.h"
#include "kernels/memory.h"

namespace voxot {

Device choose_device(const std::string& word) {
  kernels::instruction_set();  // refuses a VOXOT_CPU that cannot be had
  if (word == "cpu") return Device::cpu;
  const std::string build = kernels::cuda_build();
  std::string why;
  const bool usable = kernels::cuda_devices(&why) > 0;
  if (word == "auto") return build == "on" && usable ? Device::cuda : Device::cpu;
  if (build == "off") fail_usage("device cuda: this build has no CUDA (configure with -DVOXOT_CUDA=on)");
  if (!usable) fail_usage("device cuda: no usable GPU was found ({})", why);
  return Device::cuda;
}

std::string choose_precision(const std::string& word, Device device) {
  const bool cuda = device == Device::cuda;
  std::string precision = word != "auto" ? word : cuda ? "bf16" : "fp32";
  if (precision == "bf16" && !cuda && !kernels::cpu_has_bf16()) {
    static const bool warned = [] {
      note(
          "warning: this processor has no products of bf16 (AVX512-BF16 or AMX): they are computed "
          "through fp32, slower than fp32 itself");
      return true;
    }();
    static_cast<void>(warned);
  }
  if (precision == "tf32" && !cuda)
    fail_usage("precision: tf32 needs --device cuda; the processor takes fp32");
  kernels::set_tf32(precision == "tf32");
  return precision;
}

DType compute_dtype(const std::string& precision) { return precision == "bf16" ? DType::bf16 : DType::f32; }

void configure_kernels(const std::string& word, Device device, const std::filesystem::path& record) {
  if (device == Device::cpu) return;
  kernels::AutotuneOptions options;
  if (word == "measure") {
    options.file = record;
  } else if (word == "off") {
    options.mode = kernels::Autotune::off;
  } else {
    options.mode = kernels::Autotune::pinned;
    options.file = word;
  }
  kernels::configure_autotune(kernels::stream_of(device), options);
}

std::string describe(Device device) {
  return device == Device::cuda ? kernels::describe_cuda() : kernels::describe_cpu();
}

std::string arithmetic_of(Device device) {
  const std::string all = describe(device);
  const std::size_t threads = all.find(fmt::format(", {} threads, ", kernels::threads()));
  return device == Device::cuda || threads == std::string::npos ? all : all.substr(threads + 2);
}

void add_device_option(CLI::App& command, std::string& device) {
  command.add_option("--device", device, "where to compute; auto: on the GPU where there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
}

void add_autotune_option(CLI::App& command, std::string& word) {
  command
      .add_option("--autotune", word,
                  "on cuda, the choice among kernels: measure, off (rules of thumb), or the kernels.tsv of "
                  "another run")
      ->capture_default_str();
}

void add_precision_option(CLI::App& command, std::string& precision) {
  command
      .add_option("--precision", precision,
                  "arithmetic of the networks: auto, fp32, tf32 (cuda only) or bf16")
      ->check(CLI::IsMember(std::vector<std::string>(std::begin(kPrecisions), std::end(kPrecisions))))
      ->capture_default_str();
}

}  // namespace voxot
