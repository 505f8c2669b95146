#pragma once
// A training: the solver of a config on one device, and the data that it draws from.
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "apps/run_folder.h"

namespace voxot {

/// What is saved does not depend on the device.
class Session {
 public:
  /// Throws UsageError for samples that do not fit the networks or each other.
  Session(const RunConfig& config, const std::filesystem::path& data_directory, Device device);

  [[nodiscard]] const RunConfig& config() const { return config_; }
  [[nodiscard]] Device device() const { return device_; }
  Solver& solver() { return *solver_; }

  /// Everything that continues the run bit for bit, as a file. `extra` adds metadata.
  SafetensorsFile checkpoint(const std::map<std::string, std::string>& extra);
  void save(const std::filesystem::path& file, const std::map<std::string, std::string>& extra);
  /// Throws Error when it does not fit this config.
  void load(const Checkpoint& checkpoint);
  /// Takes over the weights of another run's last checkpoint, those of every network; optimizers, average and
  /// counters begin anew. Throws Error naming the first tensor that is missing, unexpected or of another
  /// shape, and UsageError where the run's networks differ in what no shape shows.
  void begin_with(const RunFolder& run);
  /// Each network that is of use alone, in published names and axis order, with averaged weights where there
  /// is an average.
  void export_networks(const RunFolder& folder);

 private:
  RunConfig config_;
  Device device_;
  std::unique_ptr<Dataset> source_, target_;
  std::unique_ptr<Solver> solver_;
};

/// The shape of the samples of both data sets. Throws UsageError where they differ, or do not fit the
/// config's networks.
SampleShape common_shape(const RunConfig& config, const Dataset& source, const Dataset& target);

}  // namespace voxot
