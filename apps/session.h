#pragma once
// A run, put together from its config: networks, solver, data and the folder that holds them.
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "apps/run_folder.h"
#include "models/network.h"
#include "solvers/neural_ot.h"

namespace voxot {

/// D, H, W, C of the samples that a config describes.
using SampleShape = std::array<std::int64_t, 4>;

std::shared_ptr<TransportMap> make_map(const RunConfig& config, const SampleShape& shape);
std::shared_ptr<Potential> make_potential(const RunConfig& config, const SampleShape& shape);

/// One batch as a tensor, with what is known of its samples.
struct LabelledBatch {
  Tensor volumes;
  std::vector<SampleLabel> labels;
};
LabelledBatch draw_batch(Dataset& dataset, const RandomState& state, std::int64_t count);

/// Networks and solver of one config on one device, and its training data. What is saved does not depend on
/// the device.
class Session {
 public:
  Session(const RunConfig& config, const std::filesystem::path& data_directory, Device device);

  [[nodiscard]] const RunConfig& config() const { return config_; }
  [[nodiscard]] Device device() const { return device_; }
  [[nodiscard]] const SampleShape& shape() const { return shape_; }
  NeuralOt& solver() { return *solver_; }
  TransportMap& map() { return *map_; }
  Potential& potential() { return *potential_; }

  /// Everything that continues the run bit for bit, as a file. `extra` adds metadata.
  SafetensorsFile checkpoint(const std::map<std::string, std::string>& extra);
  void save(const std::filesystem::path& file, const std::map<std::string, std::string>& extra);
  /// Throws Error when it does not fit this config.
  void load(const Checkpoint& checkpoint);
  /// Takes over the weights of another run's last checkpoint, map and potential; optimizers, average and
  /// counters begin anew. Throws Error naming the first tensor that is missing, unexpected or of another
  /// shape, and UsageError where the run's networks differ in what no shape shows.
  void begin_with(const RunFolder& run);
  /// The map alone, in published names and axis order, with averaged weights where there is an average.
  void export_map(const std::filesystem::path& file);

 private:
  RunConfig config_;
  Device device_;
  std::unique_ptr<Dataset> source_, target_;
  SampleShape shape_;
  std::shared_ptr<TransportMap> map_;
  std::shared_ptr<Potential> potential_;
  std::unique_ptr<NeuralOt> solver_;
};

/// The map of a checkpoint alone, with averaged weights where there are any; `map` and its parameters are as
/// make_map() made them for the checkpoint's config. Throws Error for a file that does not fit.
void load_checkpoint_map(const Checkpoint& checkpoint, TransportMap& map, Parameters& parameters);

}  // namespace voxot
