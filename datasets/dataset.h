#pragma once
// A marginal distribution of volumes: where the samples of P or Q come from.
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "datasets/device_samples.h"
#include "kernels/volume_sample.h"

namespace voxot {

/// The [source] and [target] tables of a config.
struct DatasetConfig {
  std::string dataset = "auto";  // a name of the table in datasets/kinds.h, which also says who reads what
  // npy: the .npy/.npz file (datasets/array_file.h); w2bench: the .npz file; kaggle3d: the published HDF5
  // file, made from MNIST where empty
  std::string path;
  std::string key;                // npy: which array of a .npz file; empty: data, x or the only one
  std::vector<int> classes;       // empty: all
  std::string order = "random";   // random: any item each time | shuffled: each once before one comes again
  std::string colour = "four";    // none | four | six | uniform
  std::string rotation = "none";  // none | one_axis | in_plane | three_axes
  std::string rotate = "after";   // after | before an image is resized to voxels
  double rotation_degrees = 180;  // angles are uniform in ± this
  int resolution = 16;
  std::array<int, 2> extrude{5, 11};  // slices [first, last) that hold the digit, of `resolution`
  double noise = 0.25;                // kaggle3d: points move by ± this, in standard deviations of the cloud
  std::string role = "source";        // gaussian, w2bench: which of the pair, source | target
  std::int64_t dimension = 2;         // gaussian: values of a vector
  bool field = false;                 // gaussian: a random field, 3×resolution³, in place of vectors
  std::int64_t seed = 0;              // gaussian: what m and Σ are made from
};

/// The parts of a data set, which share no underlying item.
enum class Split : std::uint8_t { train, validation, test };

/// What is known of one drawn sample; -1 where nothing is.
struct SampleLabel {
  int digit = -1;
  int colour = -1;         // index into colour_names(), by nearest hue for `uniform`
  float hue = -1;          // degrees in [0, 360)
  std::int64_t item = -1;  // index of the underlying image within its split
};

/// One split of a data set: what is drawn from it, on the host or in a device's memory.
class Dataset {
 public:
  virtual ~Dataset() = default;
  /// D, H, W, C of one sample.
  [[nodiscard]] virtual std::array<std::int64_t, 4> sample_shape() const = 0;
  /// Underlying items in this split and these classes; -1 when unlimited.
  [[nodiscard]] virtual std::int64_t size() const = 0;
  /// Neighbouring items, from one whose index is a multiple of this, that show one image.
  [[nodiscard]] virtual std::int64_t items_per_image() const { return 1; }
  /// Writes part.count samples (count×D×H×W×C floats, values in [-1, 1]), a pure function of `part`: item,
  /// colour and rotation of sample i of the batch come from Random(state.seed, state.purpose, state.step·2^20
  /// + i); in shuffled order its item has place state.step·batch + i (SampleDraw). So a batch that is drawn
  /// in parts has the bits that it has whole. `labels`: empty where none are asked for, else one for each
  /// sample. Does not allocate in steady state. Throws Error for a part that is not in its batch.
  void draw(const BatchPart& part, float* out, std::span<SampleLabel> labels = {});
  /// The data set in a device's memory; nothing where its items have no end or are too many.
  [[nodiscard]] virtual std::optional<DeviceSamples> on_device(Device) const { return std::nullopt; }

 private:
  /// draw() of a part that lies in its batch. `labels` is null where none are asked for.
  virtual void draw_part(const BatchPart& part, float* out, SampleLabel* labels) = 0;
};

/// Opens one split of a data set. `data_directory` is the result of find_data_directory().
/// Throws UsageError for an unknown name or class, Error for missing or bad files.
std::unique_ptr<Dataset> open_dataset(const DatasetConfig& config, Split split,
                                      const std::filesystem::path& data_directory);

/// The order by its name. Throws UsageError for an unknown one, and for "shuffled" of items without end.
Order order_of(const DatasetConfig& config, bool unlimited);

/// --data, else $VOXOT_DATA, else ./data, else ../shared/data; empty when none exists.
std::filesystem::path find_data_directory(const std::string& option);

/// Names of the fixed colours of a scheme ("four": red, green, blue, yellow), and their hues in degrees.
struct NamedHue {
  const char* name;
  float hue;
};
/// Six for "uniform", none for "none". Throws UsageError for an unknown scheme.
const std::vector<NamedHue>& colour_palette(const std::string& scheme);

/// Dominant hue in degrees of a coloured sample (D·H·W voxels × 3 channels in [-1, 1]): the hue of the
/// brightness-weighted mean colour of its occupied voxels; -1 where it has no colour.
float dominant_hue(const float* sample, std::int64_t voxels);
/// Index of the palette's nearest hue, or -1 for a hue of -1.
int nearest_colour(const std::vector<NamedHue>& palette, float hue);

}  // namespace voxot
