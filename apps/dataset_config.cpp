#include "apps/dataset_config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "kernels/check.h"

namespace voxot {
namespace {

void validate_dataset(const DatasetConfig& c, const char* table) {
  const DatasetKind& kind = kind_of(c);
  if (kind.needs_path && c.path.empty()) {
    fail_usage("{0}.path: expected with {0}.dataset \"{1}\", got none", table, c.dataset);
  }
  if (reads(c, DatasetKey::extrude) && (c.extrude[0] >= c.extrude[1] || c.extrude[1] > c.resolution)) {
    fail_usage("{}.extrude: expected [first, last) within {} slices, got [{}, {}]", table, c.resolution,
               c.extrude[0], c.extrude[1]);
  }
  for (const int digit : c.classes) {
    if (kind.digits && digit > 9) {
      fail_usage("{}.classes: expected digits from 0 to 9, got {}", table, digit);
    }
  }
  for (std::size_t i = 0; i < c.classes.size(); ++i) {
    if (std::count(c.classes.begin(), c.classes.end(), c.classes[i]) > 1) {
      fail_usage("{}.classes: expected each class once, got {} twice", table, c.classes[i]);
    }
  }
}

// What files hold is compared when they are opened.
void validate_pair(const DatasetConfig& source, const DatasetConfig& target) {
  const DatasetKind& from = kind_of(source);
  const DatasetKind& to = kind_of(target);
  const bool in_pairs = reads(source, DatasetKey::role) || reads(target, DatasetKey::role);
  if (in_pairs && &from != &to) {
    fail_usage("target.dataset: expected \"{}\" as the source has, got \"{}\"", source.dataset,
               target.dataset);
  }
  const auto shape = described_shape(source);
  if (!shape || !described_shape(target) || *shape == *described_shape(target)) return;
  if (from.form == SampleForm::vectors) {
    fail_usage("target: expected field, dimension and resolution of the source");
  }
  if (from.form != to.form) {
    fail_usage("target.dataset: expected {} as the source has (\"{}\"), got \"{}\"",
               from.form == SampleForm::images ? "images" : "volumes", source.dataset, target.dataset);
  }
  if (source.resolution != target.resolution) {
    fail_usage("target.resolution: expected that of the source, {}, got {}", source.resolution,
               target.resolution);
  }
  fail_usage("target.colour: expected as many channels as the source has (colour \"{}\"), got \"{}\"",
             source.colour, target.colour);
}

}  // namespace

void visit_classes(const char* key, std::vector<int>& classes, Range range, ConfigVisitor& v) {
  std::vector<std::int64_t> wide(classes.begin(), classes.end());
  v.integers(key, wide, range, -1);
  classes.assign(wide.begin(), wide.end());
}

void visit(DatasetConfig& c, const char* table, ConfigVisitor& v) {
  v.table(table);
  v.word("dataset", c.dataset, dataset_names());
  const auto keyed = [&](DatasetKey key, const auto& visit_key) {
    const std::string other = goes_with(c, key, table);
    const When read(v, other.empty(), other);
    visit_key();
  };
  keyed(DatasetKey::path, [&] { v.text("path", c.path); });
  keyed(DatasetKey::key, [&] { v.text("key", c.key); });
  keyed(DatasetKey::classes, [&] { visit_classes("classes", c.classes, {0, 1e6}, v); });
  keyed(DatasetKey::order, [&] { v.word("order", c.order, {"random", "shuffled"}); });
  keyed(DatasetKey::colour, [&] { v.word("colour", c.colour, {"none", "four", "six", "uniform"}); });
  keyed(DatasetKey::rotation, [&] {
    v.word("rotation", c.rotation, {"none", "one_axis", "in_plane", "three_axes"});
  });
  keyed(DatasetKey::rotate, [&] { v.word("rotate", c.rotate, {"after", "before"}); });
  keyed(DatasetKey::rotation_degrees, [&] { v.number("rotation_degrees", c.rotation_degrees, {0, 180}); });
  keyed(DatasetKey::resolution, [&] {
    std::int64_t resolution = c.resolution;
    v.integer("resolution", resolution, {4, 256});
    c.resolution = static_cast<int>(resolution);
  });
  keyed(DatasetKey::extrude, [&] {
    std::vector<std::int64_t> extrude(c.extrude.begin(), c.extrude.end());
    v.integers("extrude", extrude, {0, 256}, 2);
    c.extrude = {static_cast<int>(extrude[0]), static_cast<int>(extrude[1])};
  });
  keyed(DatasetKey::noise, [&] { v.number("noise", c.noise, {0, 1}); });
  keyed(DatasetKey::role, [&] { v.word("role", c.role, {"source", "target"}); });
  keyed(DatasetKey::dimension, [&] { v.integer("dimension", c.dimension, {1, 4096}); });
  keyed(DatasetKey::field, [&] { v.flag("field", c.field); });
  keyed(DatasetKey::seed, [&] { v.integer("seed", c.seed, kWholeNumbers); });
}

void resolve_datasets(DatasetConfig& source, DatasetConfig& target, const ConfigReader& reader) {
  const DatasetKind& kind = kind_of(target);
  if (kind.one_file && &kind == &kind_of(source) && !reader.gives("target.path")) target.path = source.path;
  for (const auto& [data, table] : {std::pair{&source, "source"}, std::pair{&target, "target"}}) {
    // Digits that are not coloured have colours of their own.
    if (has_digits(*data) && !reads(*data, DatasetKey::colour)) data->colour = "none";
    if (!reads(*data, DatasetKey::extrude) || !reader.gives(std::string(table) + ".extrude")) {
      // Slices 5 to 11 of 16, at the given resolution.
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
