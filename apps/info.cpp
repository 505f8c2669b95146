// voxot info: devices, build, libraries and data found.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "datasets/catalogue.h"
#include "kernels/conv3d.h"
#include "kernels/features.h"

namespace voxot {
namespace {

struct Options {
  std::string data;
  bool json = false;
};

void info(const Options& options) {
  const auto directory = find_data_directory(options.data);
  const auto datasets = list_datasets(directory);
  const bool cuda = kernels::conv3d_forward.implemented(Device::cuda);
  const char* precision = kernels::cpu_has_bf16() ? "fp32, bf16" : "fp32";
  if (options.json) {
    nlohmann::ordered_json json;
    json["version"] = "0.1.0";
    json["cpu"] = kernels::describe_cpu();
    json["cuda"] = cuda;
    json["precision"] = precision;
    json["libraries"] = kernels::describe_libraries();
    json["data_directory"] = directory.string();
    for (const CatalogueEntry& d : datasets) json["datasets"][d.name] = d.found;
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("voxot      0.1.0\n");
  fmt::print("cpu        {}\n", kernels::describe_cpu());
  fmt::print("cuda       {}\n", cuda ? "built in" : "built without CUDA");
  fmt::print("precision  {}\n", precision);
  fmt::print("libraries  {}\n", kernels::describe_libraries());
  fmt::print("data       {}\n",
             directory.empty() ? "no folder found (procedural digits need none)" : directory.string());
  for (const CatalogueEntry& d : datasets)
    fmt::print("  {:<10} {:<8} {}\n", d.name, d.found ? "found" : "-", d.description);
}

}  // namespace

void add_info(CLI::App& app) {
  auto o = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("info", "Says what this build and machine have.\nExample: voxot info --json");
  command->add_option("--data", o->data, "folder of the data sets");
  command->add_flag("--json", o->json, "print JSON");
  command->callback([o] { info(*o); });
}

}  // namespace voxot
