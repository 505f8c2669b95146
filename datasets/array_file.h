#pragma once
// Samples that a user brings, as every command reads them: which array of a .npz file is meant, what its axes
// are, and what its numbers mean to a network.
#include <array>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/npy.h"

namespace voxot {

/// A .npy file (one array, called "data") or a .npz file. Arrays are read when they are asked for, and not
/// kept.
class ArrayFile {
 public:
  /// Throws UsageError, beginning with `what`, for another extension, and Error for a file that is missing
  /// and for an archive that is damaged.
  ArrayFile(const std::filesystem::path& path, const std::string& what);

  /// Whether the file holds an array of that name, readable or not.
  [[nodiscard]] bool has(const std::string& name) const;
  /// What the names train_X, val_X and test_X say of axes holds: `volumes` N×D×H×W have one channel, as
  /// `images` N×H×W have, and `images` N×H×W×C of 1, 3 or 4 channels come as N×C×H×W. Throws Error where
  /// there is no such array, listing what is there, or none that can be read.
  [[nodiscard]] HostArray read(const std::string& name) const;
  [[nodiscard]] std::vector<std::string> names() const;
  /// The name of the samples: `key` where it is not empty; else "data", else "x", else the only array besides
  /// labels ("labels", "y", "colours") and what cannot be read. `option` is how a user gives the key. Throws
  /// Error, listing what is there.
  [[nodiscard]] std::string samples(const std::string& key, const std::string& option) const;
  /// "data f32 [60, 1, 8, 8, 8], ids (element type '<U8' is not supported)"
  [[nodiscard]] std::string contents() const;
  /// The file's name and the array's, as messages begin; a .npy file's alone.
  [[nodiscard]] std::string title(const std::string& name) const;
  /// The file's name alone.
  [[nodiscard]] const std::string& title() const { return path_; }

 private:
  std::filesystem::path file_;
  std::string path_;  // as messages say it
  std::optional<NpzFile> archive_;
};

/// N, C, D, H, W of N×C×D×H×W volumes, N×C×H×W images (D = 1) and N×C vectors (D = H = W = 1). Throws Error,
/// beginning with `name`, for an empty axis and other ranks, and for what could be read two ways, with the
/// line of Python that settles it: N×A×H×W is images of A channels where A is at most 4 and less than H and
/// W, or 1; N×A×B×H×W has its channels first unless A, B and H are above 4 and W is not.
std::array<std::int64_t, 5> sample_axes(const HostArray& array, const std::string& name);

/// Values as networks take them: floats as they are, u8 from [0, 255] and booleans from {0, 1} to [−1, 1].
/// Throws Error, beginning with `name`, for other types and for a value that is not finite or that T does not
/// hold, naming its sample and its place.
template <class T>
std::vector<T> network_values(const HostArray& array, const std::string& name);
extern template std::vector<float> network_values(const HostArray&, const std::string&);
extern template std::vector<double> network_values(const HostArray&, const std::string&);

/// "0 to 255 read as -1 to 1" where network_values() changes the scale, else "".
std::string scale_text(const HostArray& array);

/// Samples in a network's scale, channels last.
struct NetworkSamples {
  std::array<std::int64_t, 5> shape{};  // N, D, H, W, C
  std::vector<float> values;
};
/// Both of the above.
NetworkSamples network_samples(const HostArray& array, const std::string& name);

}  // namespace voxot
