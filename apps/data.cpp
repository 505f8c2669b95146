// voxot data: lists, makes and fetches data sets.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "apps/commands.h"
#include "apps/config_fields.h"
#include "datasets/catalogue.h"
#include "datasets/dataset.h"

namespace voxot {
namespace {

struct ListOptions {
  std::string data;
  bool json = false;
};

struct MakeOptions {
  DatasetConfig dataset;
  std::string data;
  std::string output;
  std::string split = "train";
  std::int64_t count = 1000;
  std::uint64_t seed = 0;
};

struct FetchOptions {
  std::string name;
  std::string destination = "data";
};

std::string items_text(std::int64_t items) {
  return items < 0 ? "unlimited" : items == 0 ? "-" : fmt::format("{}", items);
}

void list(const ListOptions& options) {
  const std::vector<CatalogueEntry> entries = list_datasets(find_data_directory(options.data));
  if (options.json) {
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const CatalogueEntry& entry : entries) {
      all.push_back({{"name", entry.name},
                     {"description", entry.description},
                     {"found", entry.found},
                     {"where", entry.where.string()},
                     {"items", entry.items}});
    }
    fmt::print("{}\n", all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  fmt::print("{:<10} {:<6} {:>10} {:>10} {:>10}  {}\n", "name", "found", "train", "validation", "test",
             "description");
  for (const CatalogueEntry& entry : entries) {
    fmt::print("{:<10} {:<6} {:>10} {:>10} {:>10}  {}{}\n", entry.name, entry.found ? "yes" : "no",
               items_text(entry.items[0]), items_text(entry.items[1]), items_text(entry.items[2]),
               entry.description, entry.where.empty() ? "" : fmt::format(" ({})", entry.where.string()));
  }
}

void make(const MakeOptions& options) {
  const Split split = options.split == "train"  ? Split::train
                      : options.split == "test" ? Split::test
                                                : Split::validation;
  make_dataset(options.dataset, split, find_data_directory(options.data), options.count, options.seed,
               options.output);
  fmt::print("{}\n", options.output);
}

void add_list(CLI::App& data) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* command =
      data.add_subcommand("list", "Shows the data sets and which are found.\nExample: voxot data list");
  command->add_option("--data", options->data,
                      "where the data sets lie (else $VOXOT_DATA, ./data, ../shared/data)");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options] { list(*options); });
}

void add_make(CLI::App& data) {
  auto options = std::make_shared<MakeOptions>();
  DatasetConfig& dataset = options->dataset;
  CLI::App* command =
      data.add_subcommand("make",
                          "Draws samples of a data set into a .npz file (data, labels, colours).\n"
                          "Example: voxot data make digits --classes 3 5 --count 500 --output digits.npz");
  command->add_option("name", dataset.dataset, "the data set: " + alternatives(dataset_names()))->required();
  command->add_option("--output", options->output, "the .npz file to write")->required();
  command->add_option("--count", options->count, "samples to draw")
      ->check(integer_in({1, 1e7}))
      ->capture_default_str();
  command->add_option("--split", options->split, "train, validation or test")
      ->check(CLI::IsMember({"train", "validation", "test"}))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "seed of the draw")
      ->check(integer_in(kWholeNumbers))
      ->capture_default_str();
  command->add_option("--data", options->data,
                      "where the data sets lie (else $VOXOT_DATA, ./data, ../shared/data)");
  command->add_option("--path", dataset.path, "npy, kaggle3d, w2bench: the file");
  command->add_option("--key", dataset.key, "npy: the array of a .npz file (else data, x or the only one)");
  command->add_option("--classes", dataset.classes, "digits to draw; all where none is given")
      ->check(integer_in(range_of_key("source.classes")));
  command->add_option("--colour", dataset.colour, "none, four, six or uniform")->capture_default_str();
  command->add_option("--rotation", dataset.rotation, "none, one_axis, in_plane or three_axes")
      ->capture_default_str();
  command->add_option("--rotate", dataset.rotate, "after or before an image is resized to voxels")
      ->capture_default_str();
  command->add_option("--rotation-degrees", dataset.rotation_degrees, "angles are uniform in ± this")
      ->check(number_in(range_of_key("source.rotation_degrees")))
      ->capture_default_str();
  command->add_option("--resolution", dataset.resolution, "voxels along each side")
      ->check(integer_in(range_of_key("source.resolution")))
      ->capture_default_str();
  command->add_option("--extrude", dataset.extrude, "the first slice of the digit and the one after its last")
      ->check(integer_in(range_of_key("source.extrude")))
      ->capture_default_str();
  command->add_option("--noise", dataset.noise, "kaggle3d: points move by ± this, in standard deviations")
      ->check(number_in(range_of_key("source.noise")))
      ->capture_default_str();
  command->add_option("--role", dataset.role, "gaussian, w2bench: source or target")->capture_default_str();
  command->add_option("--dimension", dataset.dimension, "gaussian: values of a sample")
      ->check(integer_in(range_of_key("source.dimension")))
      ->capture_default_str();
  command->add_flag("--field", dataset.field, "gaussian: random fields of the resolution, not vectors");
  command->callback([options] { make(*options); });
}

void add_fetch(CLI::App& data) {
  auto options = std::make_shared<FetchOptions>();
  CLI::App* command = data.add_subcommand(
      "fetch", "Downloads a data set and verifies its checksums.\nExample: voxot data fetch mnist");
  command->add_option("name", options->name, "the data set: mnist")->required();
  command->add_option("--data", options->destination, "the folder that gets a folder of this name")
      ->capture_default_str();
  command->callback(
      [options] { fmt::print("{}\n", fetch_dataset(options->name, options->destination).string()); });
}

}  // namespace

void add_data(CLI::App& app) {
  CLI::App* data =
      app.add_subcommand("data", "Lists, makes and fetches data sets.\nExample: voxot data list");
  data->require_subcommand(1);
  add_list(*data);
  add_make(*data);
  add_fetch(*data);
}

}  // namespace voxot
