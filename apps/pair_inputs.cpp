#include "apps/pair_inputs.h"

#include <algorithm>
#include <filesystem>

#include "apps/device.h"
#include "apps/volumes.h"
#include "engine/atomic_file.h"
#include "engine/npy.h"

namespace voxot {
namespace {

constexpr std::int64_t kPicturePairs = 10;

FileArrays read_arrays(const std::string& file) {
  const std::string extension = std::filesystem::path(file).extension().string();
  if (extension == ".npz") return read_npz(file);
  if (extension != ".npy") fail_usage("pair: expected a .npy or .npz file, got {}", file);
  FileArrays arrays;
  arrays["data"] = read_npy(file);
  return arrays;
}

const HostArray& member(const FileArrays& arrays, const std::string& name, const std::string& file) {
  const auto found = arrays.find(name);
  VOXOT_CHECK(found != arrays.end(), "{}: has no array {}", file, name);
  return found->second;
}

/// N×D in the type that is asked for.
Tensor features_of(const HostArray& array, const std::string& file, const std::string& precision) {
  VOXOT_CHECK(!array.shape.empty() && array.count() > 0, "{}: expected N samples, got {}", file,
              array.describe());
  const Shape shape{array.shape[0], array.count() / array.shape[0]};
  if (precision == "fp32") return Tensor::from(shape, array.to_floats());
  return Tensor::from(shape, array.to_doubles());
}

/// Of one side: those of its file, or those beside it, of as many samples.
Tensor features_of(const FileArrays& arrays, const std::string& file, const std::string& beside,
                   const std::string& precision) {
  if (beside.empty()) return features_of(member(arrays, "data", file), file, precision);
  const Tensor features = features_of(member(read_arrays(beside), "data", beside), beside, precision);
  const auto samples = arrays.find("data");
  VOXOT_CHECK(samples == arrays.end() ||
                  (!samples->second.shape.empty() && samples->second.shape[0] == features.extent(0)),
              "pair: {} has features of {} samples, {} has {}", beside, features.extent(0), file,
              samples->second.describe());
  return features;
}

std::vector<std::int64_t> labels_of(const FileArrays& arrays, const std::string& name,
                                    const std::string& file, std::int64_t count) {
  const HostArray& array = member(arrays, name, file);
  VOXOT_CHECK(array.shape.size() == 1 && array.shape[0] == count,
              "{}: {}: expected one label for each of {} samples, got {}", file, name, count,
              array.describe());
  return array.to_integers(fmt::format("{}: {}", file, name));
}

/// The colours, where the file has one whole number for each sample by that name.
std::optional<std::vector<std::int64_t>> colours_of(const FileArrays& arrays, const std::string& file,
                                                    std::int64_t count) {
  try {
    return labels_of(arrays, "colours", file, count);
  } catch (const Error&) {
    return std::nullopt;
  }
}

Volumes volumes_of(const FileArrays& arrays, const std::string& file, std::int64_t count) {
  return to_volumes(member(arrays, "data", file), file, "", count);
}

Image picture_of(const Volumes& source, const Volumes& target, const std::vector<std::int64_t>& partners) {
  std::vector<VolumeRow> rows{{"source", {}}, {"partner", {}}};
  const auto pairs = std::min<std::int64_t>(kPicturePairs, static_cast<std::int64_t>(partners.size()));
  for (std::int64_t i = 0; i < pairs; ++i) {
    rows[0].volumes.push_back(source.view(i));
    rows[1].volumes.push_back(target.view(partners[static_cast<std::size_t>(i)]));
  }
  return render_rows(rows, static_cast<int>(kPicturePairs));
}

void check_places(const PairCommand& command) {
  if (std::filesystem::path(command.output).extension() != ".npz")
    fail_usage("pair: expected an output that ends in .npz, got \"{}\"", command.output);
  check_replaceable(command.output);
  if (!command.picture.empty()) check_replaceable(command.picture);
}

std::int64_t most_of_one(std::vector<std::int64_t> labels) {
  std::sort(labels.begin(), labels.end());
  std::int64_t most = 0;
  for (auto first = labels.begin(); first != labels.end();) {
    const auto last = std::upper_bound(first, labels.end(), *first);
    most = std::max<std::int64_t>(most, last - first);
    first = last;
  }
  return most;
}

}  // namespace

std::int64_t PairInputs::most_points() const {
  if (source_labels.empty()) return batch;
  return std::min(batch, std::max(most_of_one(source_labels), most_of_one(target_labels)));
}

PairInputs read_pair_inputs(const PairCommand& command) {
  check_places(command);
  PairInputs in;
  in.device = choose_device(command.device);
  in.source_arrays = read_arrays(command.source);
  in.target_arrays = read_arrays(command.target);
  in.source = features_of(in.source_arrays, command.source, command.source_features, command.precision);
  in.target = features_of(in.target_arrays, command.target, command.target_features, command.precision);
  const std::int64_t n = in.source.extent(0);
  const std::int64_t m = in.target.extent(0);
  VOXOT_CHECK(in.source.extent(1) == in.target.extent(1), "pair: {} has {} values a sample, {} has {}",
              command.source, in.source.extent(1), command.target, in.target.extent(1));
  if (!command.within.empty()) {
    in.source_labels = labels_of(in.source_arrays, command.within, command.source, n);
    in.target_labels = labels_of(in.target_arrays, command.within, command.target, m);
  }
  in.source_colours = colours_of(in.source_arrays, command.source, n);
  in.target_colours = colours_of(in.target_arrays, command.target, m);
  in.batch = command.batch == 0 ? std::max(n, m) : std::min(command.batch, std::max(n, m));
  VOXOT_CHECK(command.batch == 0 || n == m,
              "pair: --batch needs as many source as target samples, got {} and {}", n, m);
  if (!command.picture.empty()) {
    picture_of(volumes_of(in.source_arrays, command.source, 1),
               volumes_of(in.target_arrays, command.target, 1), {0});
  }
  return in;
}

void draw_pairs(const PairCommand& command, const PairInputs& in, const std::vector<std::int64_t>& partners) {
  write_png(command.picture,
            picture_of(volumes_of(in.source_arrays, command.source, in.source.extent(0)),
                       volumes_of(in.target_arrays, command.target, in.target.extent(0)), partners));
}

}  // namespace voxot
