#include "apps/pair_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "apps/device.h"
#include "apps/volumes.h"
#include "engine/atomic_file.h"
#include "engine/progress.h"
#include "kernels/sizes.h"
#include "solvers/feature_precision.h"

namespace voxot {
namespace {

constexpr std::int64_t kPicturePairs = 10;

PairFile open_file(const std::string& path, const PairCommand& command, bool features_beside) {
  PairFile opened{ArrayFile(path, "pair"), {}};
  try {
    opened.samples = opened.file.samples(command.key, "--key");
  } catch (const Error&) {
    if (!features_beside || !command.key.empty()) throw;
  }
  return opened;
}

/// N×D numbers as the file has them: fp64 where it has fp64, fp32 where that holds all of its type. Points of
/// whole numbers are numbers; volumes of them have a range that nobody knows.
Tensor features_of(const HostArray& array, const std::string& name) {
  VOXOT_CHECK(!array.shape.empty() && array.count() > 0, "{}: expected N samples, got {}", name,
              array.describe());
  const Shape shape{array.shape[0], array.count() / array.shape[0]};
  const bool whole = array.type != FileType::u8 && array.type != FileType::boolean &&
                     array.type != FileType::f16 && array.type != FileType::bf16 &&
                     array.type != FileType::f32 && array.type != FileType::f64;
  if (whole && array.shape.size() <= 2) {
    const std::vector<std::int64_t> numbers = array.to_integers(name);
    const std::vector<double> values(numbers.begin(), numbers.end());
    constexpr double kExact = 0x1p53;
    const auto large =
        std::find_if(values.begin(), values.end(), [](double v) { return std::abs(v) > kExact; });
    VOXOT_CHECK(large == values.end(), "{}: {} is beyond what double holds exactly", name,
                numbers[to_size(large - values.begin())]);
    return Tensor::from(shape, std::span<const double>(values));
  }
  if (array.type == FileType::f64)
    return Tensor::from(shape, std::span<const double>(network_values<double>(array, name)));
  return Tensor::from(shape, std::span<const float>(network_values<float>(array, name)));
}

/// Of one side: those of its file, or those beside it, of as many samples.
Tensor features_of(const PairFile& side, const std::string& path, const std::string& beside,
                   const PairCommand& command) {
  const auto told = [](const ArrayFile& file, const std::string& name) {
    const HostArray array = file.read(name);
    const std::string scale = scale_text(array);
    if (!scale.empty()) note(fmt::format("{}: {}", file.title(name), scale));
    return features_of(array, file.title(name));
  };
  if (beside.empty()) return told(side.file, *side.samples);
  const ArrayFile file(beside, "pair");
  const Tensor features = told(file, file.samples(command.features_key, "--features-key"));
  if (!side.samples) return features;
  const HostArray samples = side.file.read(*side.samples);
  VOXOT_CHECK(!samples.shape.empty() && samples.shape[0] == features.extent(0),
              "pair: {} has features of {} samples, {} has {}", beside, features.extent(0), path,
              samples.describe());
  return features;
}

/// Gives both sides the type that --precision asks for. "auto" is fp64 unless fp32, about an origin amid the
/// points, holds every number and the squares of their differences: what an exact plan's costs are is decided
/// by pair() itself.
void choose_precision(const PairCommand& command, Tensor& source, Tensor& target) {
  const bool cosine = command.cost == GroundCost::cosine;
  const bool wide = source.dtype() == DType::f64 || target.dtype() == DType::f64;
  source = source.to(wide ? DType::f64 : DType::f32);
  target = target.to(source.dtype());
  if (command.precision == "fp64") {
    source = source.to(DType::f64);
    target = target.to(DType::f64);
    return;
  }
  if (command.method == PairingPlan::exact && wide) return;
  const bool given = command.precision == "fp32";
  if (!wide) {
    if (given || cosine || fp32_squares(source, target)) return;
    source = source.to(DType::f64);
    target = target.to(DType::f64);
    return;
  }
  const Fp32Features narrow = fp32_features(source, target, !cosine);
  if (!given && !(narrow.exact && (cosine || fp32_squares(narrow.source, narrow.target)))) return;
  if (!narrow.exact) {
    note(
        fmt::format("--precision fp32 rounds the features{}; costs, plan and certificate are those of what "
                    "is left",
                    cosine ? "" : ", less a common origin"));
  }
  source = narrow.source;
  target = narrow.target;
}

std::vector<std::int64_t> labels_of(const PairFile& side, const std::string& name, std::int64_t count) {
  const HostArray array = side.file.read(name);
  VOXOT_CHECK(array.shape.size() == 1 && array.shape[0] == count,
              "{}: expected one label for each of {} samples, got {}", side.file.title(name), count,
              array.describe());
  return array.to_integers(side.file.title(name));
}

/// The colours, where the file has one whole number for each sample by that name.
std::optional<std::vector<std::int64_t>> colours_of(const PairFile& side, std::int64_t count) {
  try {
    return labels_of(side, "colours", count);
  } catch (const Error&) {
    return std::nullopt;
  }
}

Volumes volumes_of(const PairFile& side, const std::string& path, std::int64_t count) {
  VOXOT_CHECK(side.samples.has_value(), "{}: expected samples to draw; it holds {}", path,
              side.file.contents());
  return to_volumes(side.file.read(*side.samples), side.file.title(*side.samples), "", count);
}

Image picture_of(const Volumes& source, const Volumes& target, const std::vector<std::int64_t>& partners) {
  std::vector<VolumeRow> rows{{"source", {}}, {"partner", {}}};
  const auto pairs = std::min<std::int64_t>(kPicturePairs, std::ssize(partners));
  for (std::int64_t i = 0; i < pairs; ++i) {
    rows[0].volumes.push_back(source.view(i));
    rows[1].volumes.push_back(target.view(partners[to_size(i)]));
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
  const Device device = choose_device(command.device);
  const bool beside = !command.source_features.empty();
  PairInputs in{.source_file = open_file(command.source, command, beside),
                .target_file = open_file(command.target, command, beside)};
  in.device = device;
  in.source = features_of(in.source_file, command.source, command.source_features, command);
  in.target = features_of(in.target_file, command.target, command.target_features, command);
  const std::int64_t n = in.source.extent(0);
  const std::int64_t m = in.target.extent(0);
  VOXOT_CHECK(in.source.extent(1) == in.target.extent(1), "pair: {} has {} values a sample, {} has {}",
              command.source, in.source.extent(1), command.target, in.target.extent(1));
  choose_precision(command, in.source, in.target);
  if (!command.within.empty()) {
    in.source_labels = labels_of(in.source_file, command.within, n);
    in.target_labels = labels_of(in.target_file, command.within, m);
  }
  in.source_colours = colours_of(in.source_file, n);
  in.target_colours = colours_of(in.target_file, m);
  in.batch = command.batch == 0 ? std::max(n, m) : std::min(command.batch, std::max(n, m));
  VOXOT_CHECK(command.batch == 0 || n == m,
              "pair: --batch needs as many source as target samples, got {} and {}", n, m);
  if (!command.picture.empty()) {
    picture_of(volumes_of(in.source_file, command.source, 1), volumes_of(in.target_file, command.target, 1),
               {0});
  }
  return in;
}

void draw_pairs(const PairCommand& command, const PairInputs& in, const std::vector<std::int64_t>& partners) {
  write_png(command.picture,
            picture_of(volumes_of(in.source_file, command.source, in.source.extent(0)),
                       volumes_of(in.target_file, command.target, in.target.extent(0)), partners));
}

}  // namespace voxot
