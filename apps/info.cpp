// voxot info: devices, build, libraries and data found.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/device.h"
#include "datasets/catalogue.h"
#include "kernels/autotune.h"
#include "kernels/features.h"
#include "kernels/memory.h"

namespace voxot {
namespace {

struct Options {
  std::string device = "auto";
  std::string data;
  bool json = false;
  bool kernels = false;
};

std::string precisions(Device device) {
  if (device == Device::cuda) return "fp32, tf32, bf16";
  return kernels::cpu_has_bf16() ? "fp32, bf16" : "fp32";
}

std::string devices_of(const kernels::Contract& contract) {
  std::string text;
  for (const Device device : {Device::cpu, Device::cuda}) {
    if (!contract.implemented[static_cast<std::size_t>(device)]) continue;
    text += (text.empty() ? "" : ", ") + std::string(name_of(device));
  }
  return text;
}

/// What the autotuner has decided on this device so far.
std::vector<kernels::KernelChoice> choices() {
  std::vector<kernels::KernelChoice> all;
  if (kernels::cuda_devices() > 0) kernels::list_choices(kernels::stream_of(Device::cuda), &all);
  return all;
}

void print_json(const Options& options, Device device) {
  const auto directory = find_data_directory(options.data);
  nlohmann::ordered_json json;
  json["version"] = kVersion;
  json["cpu"] = kernels::describe_cpu();
  std::string why;
  const bool cuda = kernels::cuda_devices(&why) > 0;
  json["cuda"] = cuda;
  json["cuda_build"] = kernels::cuda_build();
  json["cuda_device"] = cuda ? nlohmann::ordered_json(kernels::describe_cuda()) : nullptr;
  json["cuda_missing"] = cuda ? nullptr : nlohmann::ordered_json(why);
  json["device"] = name_of(device);
  json["precision"] = precisions(device);
  json["libraries"] = kernels::describe_libraries();
  json["data_directory"] = directory.string();
  for (const CatalogueEntry& d : list_datasets(directory)) json["datasets"][d.name] = d.found;
  if (options.kernels) {
    for (const kernels::Contract& c : kernels::contracts()) json["kernels"][c.name] = devices_of(c);
    json["choices"] = nlohmann::ordered_json::array();
    for (const kernels::KernelChoice& c : choices())
      json["choices"].push_back({{"call", c.call}, {"variant", c.variant}, {"reason", c.reason}});
  }
  fmt::print("{}\n", json.dump(2));
}

void info(const Options& options) {
  const Device device = choose_device(options.device);
  if (options.json) return print_json(options, device);
  const auto directory = find_data_directory(options.data);
  fmt::print("voxot      {}\n", kVersion);
  fmt::print("cpu        {}\n", kernels::describe_cpu());
  std::string why;
  const bool cuda = kernels::cuda_devices(&why) > 0;
  fmt::print("cuda       {} (build: {})\n", cuda ? kernels::describe_cuda() : "none: " + why,
             kernels::cuda_build());
  fmt::print("device     {}{}\n", name_of(device), options.device == "auto" ? " (chosen by auto)" : "");
  fmt::print("precision  {}\n", precisions(device));
  fmt::print("libraries  {}\n", kernels::describe_libraries());
  fmt::print("data       {}\n",
             directory.empty() ? "no folder found (procedural digits need none)" : directory.string());
  for (const CatalogueEntry& d : list_datasets(directory))
    fmt::print("  {:<10} {:<8} {}\n", d.name, d.found ? "found" : "-", d.description);
  if (!options.kernels) return;
  fmt::print("kernels\n");
  for (const kernels::Contract& c : kernels::contracts()) fmt::print("  {:<30} {}\n", c.name, devices_of(c));
  const auto all = choices();
  if (!all.empty()) fmt::print("convolutions chosen on this device\n");
  for (const kernels::KernelChoice& c : all) fmt::print("  {:<70} {:<24} {}\n", c.call, c.variant, c.reason);
}

}  // namespace

void add_info(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("info", "Says what this build and machine have.\nExample: voxot info --json");
  command->add_option("--data", o->data, "folder of the data sets");
  add_device_option(*command, o->device);
  command->add_flag("--kernels", o->kernels, "also list every kernel and the devices that have it");
  command->add_flag("--json", o->json, "print JSON");
  command->callback([o] { info(*o); });
}

}  // namespace voxot
