#include "apps/dataset_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "kernels/check.h"

namespace voxot {
namespace {

bool has_labels(const DatasetConfig& c) { return c.dataset != "gaussian" && c.dataset != "w2bench"; }

void validate_dataset(const DatasetConfig& c, const char* table) {
  const bool may_have_path = c.dataset == "kaggle3d";
  if (!may_have_path && (c.dataset == "npy" || c.dataset == "w2bench") == c.path.empty()) {
    fail_usage(
        "{0}.path: expected with {0}.dataset \"npy\" or \"w2bench\", possible with \"kaggle3d\"; got \"{1}\" "
        "with "
        "\"{2}\"",
        table, c.path, c.dataset);
  }
  if (!c.key.empty() && c.dataset != "npy") {
    fail_usage("{}.key: expected with dataset \"npy\" alone, got \"{}\" with \"{}\"", table, c.key,
               c.dataset);
  }
  if (c.dataset == "mnistm" && c.colour != "none") {
    fail_usage("{}.colour: \"mnistm\" has colours of its own; expected \"none\", got \"{}\"", table,
               c.colour);
  }
  if (!has_labels(c) && !c.classes.empty()) {
    fail_usage("{}.classes: \"{}\" has no classes, got [{}]", table, c.dataset, fmt::join(c.classes, ", "));
  }
  if (c.extrude[0] >= c.extrude[1] || c.extrude[1] > c.resolution) {
    fail_usage("{}.extrude: expected [first, last) within {} slices, got [{}, {}]", table, c.resolution,
               c.extrude[0], c.extrude[1]);
  }
  for (const int digit : c.classes) {
    if (c.dataset != "npy" && digit > 9) {
      fail_usage("{}.classes: expected digits from 0 to 9, got {}", table, digit);
    }
  }
  for (std::size_t i = 0; i < c.classes.size(); ++i) {
    if (std::count(c.classes.begin(), c.classes.end(), c.classes[i]) > 1) {
      fail_usage("{}.classes: expected each class once, got {} twice", table, c.classes[i]);
    }
  }
}

bool one_channel(const DatasetConfig& c) { return c.colour == "none" && c.dataset != "mnistm"; }

// The arrays of anyone's own volumes have the shape that their files say; only the others are known here.
void validate_pair(const DatasetConfig& source, const DatasetConfig& target) {
  if (!has_labels(source) || !has_labels(target)) {
    if (source.dataset != target.dataset) {
      fail_usage("target.dataset: expected \"{}\" as the source has, got \"{}\"", source.dataset,
                 target.dataset);
    }
    if (source.field != target.field || (!source.field && source.dimension != target.dimension) ||
        (source.field && source.resolution != target.resolution)) {
      fail_usage("target: expected field, dimension and resolution of the source");
    }
    return;
  }
  if (source.dataset == "npy" || target.dataset == "npy") {
    return;
  }
  if (is_flat(source.dataset) != is_flat(target.dataset)) {
    fail_usage("target.dataset: expected {} as the source has (\"{}\"), got \"{}\"",
               is_flat(source.dataset) ? "images" : "volumes", source.dataset, target.dataset);
  }
  if (source.resolution != target.resolution) {
    fail_usage("target.resolution: expected that of the source, {}, got {}", source.resolution,
               target.resolution);
  }
  if (one_channel(source) != one_channel(target)) {
    fail_usage("target.colour: expected as many channels as the source has (colour \"{}\"), got \"{}\"",
               source.colour, target.colour);
  }
}

}  // namespace

void visit_classes(const char* key, std::vector<int>& classes, Range range, ConfigVisitor& v) {
  std::vector<std::int64_t> wide(classes.begin(), classes.end());
  v.integers(key, wide, range, -1);
  classes.assign(wide.begin(), wide.end());
}

void visit(DatasetConfig& c, const char* table, ConfigVisitor& v) {
  v.table(table);
  v.word("dataset", c.dataset,
         {"auto", "mnist3d", "mnist", "digits", "kaggle3d", "usps", "mnistm", "npy", "gaussian", "w2bench"});
  v.text("path", c.path);
  v.text("key", c.key);
  visit_classes("classes", c.classes, {0, 1e6}, v);
  v.word("order", c.order, {"random", "shuffled"});
  v.word("colour", c.colour, {"none", "four", "six", "uniform"});
  v.word("rotation", c.rotation, {"none", "one_axis", "in_plane", "three_axes"});
  v.word("rotate", c.rotate, {"after", "before"});
  v.number("rotation_degrees", c.rotation_degrees, {0, 180});
  std::int64_t resolution = c.resolution;
  v.integer("resolution", resolution, {4, 256});
  c.resolution = static_cast<int>(resolution);
  std::vector<std::int64_t> extrude(c.extrude.begin(), c.extrude.end());
  v.integers("extrude", extrude, {0, 256}, 2);
  c.extrude = {static_cast<int>(extrude[0]), static_cast<int>(extrude[1])};
  v.number("noise", c.noise, {0, 1});
  v.word("role", c.role, {"source", "target"});
  v.integer("dimension", c.dimension, {1, 4096});
  v.flag("field", c.field);
  v.integer("seed", c.seed, kWholeNumbers);
}

void resolve_datasets(DatasetConfig& source, DatasetConfig& target, const ConfigReader& reader) {
  // One file that holds both ends.
  if (target.dataset == source.dataset && !reader.gives("target.path") &&
      (source.dataset == "w2bench" || source.dataset == "kaggle3d")) {
    target.path = source.path;
  }
  for (const auto& [data, table] : {std::pair{&source, "source"}, std::pair{&target, "target"}}) {
    const std::string keys = table;
    if (data->dataset == "mnistm" && !reader.gives(keys + ".colour"))
      data->colour = "none";                 // it has its own
    if (!reader.gives(keys + ".extrude")) {  // slices 5 to 11 of 16, at the given resolution
      data->extrude = {(5 * data->resolution + 8) / 16, (11 * data->resolution + 8) / 16};
    }
  }
}

void validate_datasets(const DatasetConfig& source, const DatasetConfig& target) {
  validate_dataset(source, "source");
  validate_dataset(target, "target");
  validate_pair(source, target);
}

}  // namespace voxot
