#pragma once
// The table of the kinds of data sets: what each is, which keys of its config it reads and how it is opened.
// Whatever depends on the kind asks this table; no other file compares names.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "datasets/dataset.h"
#include "datasets/truth.h"

namespace voxot {

/// Keys of a DatasetConfig beside `dataset`, by their names.
enum class DatasetKey : std::uint8_t {
  path,
  key,
  classes,
  order,
  colour,
  rotation,
  rotate,
  rotation_degrees,
  resolution,
  extrude,
  noise,
  role,
  dimension,
  field,
  seed,
};

/// A set of keys.
class DatasetKeys {
 public:
  constexpr DatasetKeys() = default;
  constexpr DatasetKeys(std::initializer_list<DatasetKey> keys) {
    for (const DatasetKey key : keys) bits_ |= 1U << static_cast<unsigned>(key);
  }
  /// Whether the key is in it.
  [[nodiscard]] constexpr bool has(DatasetKey key) const {
    return (bits_ >> static_cast<unsigned>(key) & 1U) != 0;
  }

 private:
  std::uint32_t bits_ = 0;
};

/// What the samples are: volumes of resolution³, images of resolution² (volumes of depth 1), vectors (or
/// fields, volumes of three channels, with the key `field`), or what the arrays of a file are.
enum class SampleForm : std::uint8_t { volumes, images, vectors, file };

/// What a data directory holds of a kind. Items of train, validation and test: −1 unlimited, 0 unknown or
/// none.
struct DatasetFiles {
  bool found = false;
  std::filesystem::path where;  // folder of its files; empty where it needs none or has none
  std::array<std::int64_t, 3> items{};
};

/// One kind of data set: what it is, which keys it reads, and how it is opened.
struct DatasetKind {
  const char* name = "";
  const char* description = "";  // a line of `voxot data list`
  SampleForm form = SampleForm::volumes;
  bool digits = false;               // samples show digits, and their labels are 0 to 9
  bool needs_path = false;           // `path` must be given
  bool one_file = false;             // a target without `path` reads its source's
  const char* downloaded = nullptr;  // as what `voxot data fetch` gets its files; null where it cannot
  DatasetKeys keys;                  // that it reads
  /// open_dataset() of a config of this kind.
  std::unique_ptr<Dataset> (*open)(const DatasetConfig&, Split,
                                   const std::filesystem::path& data_directory) = nullptr;
  /// Looks for its files without reading them. Null for `auto`, which stands for another kind.
  DatasetFiles (*find)(const std::filesystem::path& data_directory) = nullptr;
  /// known_truth() of a pair of this kind; null where none is known.
  std::optional<KnownTruth> (*truth)(const DatasetConfig& source, const DatasetConfig& target,
                                     const std::filesystem::path& data_directory, const RandomState& state,
                                     std::int64_t count) = nullptr;
};

/// All of them, `auto` first, in the order in which they are listed.
std::span<const DatasetKind> dataset_kinds();
/// Their names.
std::span<const char* const> dataset_names();
/// "a, b or c"
std::string alternatives(std::span<const char* const> names);

/// The kind that config.dataset names. Throws UsageError for an unknown name.
const DatasetKind& kind_of(const DatasetConfig& config);
/// Replaces `auto` by the kind that it stands for: mnist3d where MNIST is found, else digits.
void resolve_kind(DatasetConfig& config, const std::filesystem::path& data_directory);

/// Empty where the key has an effect; else what it goes with, as a config says it: the kinds that read it, or
/// another key of the same table (no angle without a rotation, no rotation or noise of volumes that a file
/// holds as they are). `table` begins the names of keys.
std::string goes_with(const DatasetConfig& config, DatasetKey key, const std::string& table = "source");
/// Whether the key has an effect.
inline bool reads(const DatasetConfig& config, DatasetKey key) { return goes_with(config, key).empty(); }

/// D, H, W, C of the samples where the config alone says it; nothing where a file does.
std::optional<std::array<std::int64_t, 4>> described_shape(const DatasetConfig& config);

/// Whether its samples show digits: neither anyone's own arrays nor vectors and fields.
inline bool has_digits(const DatasetConfig& config) { return kind_of(config).digits; }

}  // namespace voxot
