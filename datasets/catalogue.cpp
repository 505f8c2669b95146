#include "datasets/catalogue.h"

#include <algorithm>
#include <map>

#include "engine/atomic_file.h"
#include "engine/host_array.h"
#include "engine/npy.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

constexpr std::int64_t kBlock = 1024;

}  // namespace

std::vector<CatalogueEntry> list_datasets(const std::filesystem::path& data_directory) {
  std::vector<CatalogueEntry> entries;
  for (const DatasetKind& kind : dataset_kinds()) {
    if (kind.find != nullptr) entries.push_back({kind.find(data_directory), kind.name, kind.description});
  }
  return entries;
}

void make_dataset(const DatasetConfig& config, Split split, const std::filesystem::path& data_directory,
                  std::int64_t n, std::uint64_t seed, const std::filesystem::path& output) {
  if (n < 1) {
    fail_usage("data make: expected at least 1 sample, got {}", n);
  }
  if (output.extension() != ".npz") {
    fail_usage("data make: expected an output that ends in .npz, got \"{}\"", output.string());
  }
  check_replaceable(output);
  const std::unique_ptr<Dataset> dataset = open_dataset(config, split, data_directory);
  const auto [depth, height, width, channels] = dataset->sample_shape();
  const std::int64_t voxels = depth * height * width;
  std::vector<float> block(to_size(std::min(n, kBlock) * voxels * channels));
  std::vector<float> data(to_size(n * voxels * channels));
  std::vector<SampleLabel> drawn;
  std::vector<std::int64_t> labels;
  std::vector<std::int64_t> colours;
  for (std::int64_t done = 0; done < n; done += kBlock) {
    const std::int64_t count = std::min(kBlock, n - done);
    const RandomState state{seed, Purpose::evaluation, static_cast<std::uint64_t>(done / kBlock)};
    drawn.resize(to_size(count));
    dataset->draw({state, count}, block.data(), drawn);
    transpose_samples(block.data(), data.data() + done * voxels * channels, count, voxels, channels);
    for (const SampleLabel& label : drawn) {
      labels.push_back(label.digit);
      colours.push_back(label.colour);
    }
  }
  std::map<std::string, HostArray> arrays;
  arrays["data"] = HostArray::from_floats({n, channels, depth, height, width}, data);
  arrays["labels"] = HostArray::from_int64({n}, labels);
  arrays["colours"] = HostArray::from_int64({n}, colours);
  write_npz(output, arrays);
}

}  // namespace voxot
