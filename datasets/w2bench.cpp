#include "datasets/w2bench.h"

#include <algorithm>
#include <string>
#include <utility>

#include "datasets/array_file.h"
#include "kernels/check.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

namespace fs = std::filesystem;

struct Rows {
  std::int64_t count = 0;
  std::int64_t dimension = 0;
  std::vector<float> values;
};

fs::path found_file(const DatasetConfig& config, const fs::path& data_directory) {
  fs::path path = config.path;
  std::error_code ignored;
  if (!fs::exists(path, ignored) && path.is_relative() && !data_directory.empty()) {
    path = data_directory / path;
  }
  VOXOT_CHECK(fs::is_regular_file(path, ignored), "w2bench: expected a file {} or {}, found none",
              config.path, (data_directory / config.path).string());
  return path;
}

class File {
 public:
  File(const DatasetConfig& config, const fs::path& data_directory)
      : File(found_file(config, data_directory)) {}
  explicit File(const fs::path& path) : name_(path.string()), arrays_(path) {
    dimension_ = rows("source").dimension;
    for (const char* other : {"target", "test_source", "test_target"}) {
      const Rows r = rows(other);
      VOXOT_CHECK(r.dimension == dimension_, "{}: {} has {} columns, source has {}", name_, other,
                  r.dimension, dimension_);
    }
    VOXOT_CHECK(rows("test_source").count == rows("test_target").count,
                "{}: test_source has {} rows, test_target has {}; expected pairs", name_,
                rows("test_source").count, rows("test_target").count);
    (void)target_variance();
  }

  [[nodiscard]] Rows rows(const std::string& key) const {
    const HostArray array = find(key);
    VOXOT_CHECK(is_float(array.type) && array.shape.size() == 2 && array.shape[0] > 0 && array.shape[1] > 0,
                "{}: {}: expected a matrix of floats, got {}", name_, key, array.describe());
    return {array.shape[0], array.shape[1], network_values<float>(array, name_ + ": " + key)};
  }

  [[nodiscard]] double target_variance() const {
    const HostArray array = find("target_var");
    VOXOT_CHECK(is_float(array.type) && array.count() == 1, "{}: target_var: expected one float, got {}",
                name_, array.describe());
    const auto value = network_values<double>(array, name_ + ": target_var")[0];
    VOXOT_CHECK(value > 0, "{}: target_var is {}, expected a positive number", name_, value);
    return value;
  }

  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  [[nodiscard]] HostArray find(const std::string& key) const {
    VOXOT_CHECK(arrays_.has(key),
                "{}: no array named {}; expected source, target, test_source, test_target and target_var",
                name_, key);
    return arrays_.read(key);
  }

  std::string name_;
  NpzFile arrays_;
  std::int64_t dimension_ = 0;
};

class W2Bench final : public Dataset {
 public:
  W2Bench(const DatasetConfig& config, Split split, const fs::path& data_directory)
      : order_(order_of(config, false)) {
    const File file(config, data_directory);
    Rows all = file.rows(split == Split::test ? "test_" + config.role : config.role);
    dimension_ = all.dimension;
    if (split == Split::test) {
      values_ = std::move(all.values);
      for (std::int64_t i = 0; i < all.count; ++i) rows_.push_back(i);
      return;
    }
    for (std::int64_t i = 0; i < all.count; ++i) {
      if (w2bench_split_of(i) != split) continue;
      rows_.push_back(i);
      const float* from = all.values.data() + i * dimension_;
      values_.insert(values_.end(), from, from + dimension_);
    }
    VOXOT_CHECK(!rows_.empty(), "{}: none of {} rows of {} falls into this split", file.name(), all.count,
                config.role);
  }

  [[nodiscard]] std::array<std::int64_t, 4> sample_shape() const override { return {1, 1, 1, dimension_}; }
  [[nodiscard]] std::int64_t size() const override { return std::ssize(rows_); }

  void draw_part(const BatchPart& part, float* out, SampleLabel* labels) override {
    if (labels != nullptr) std::fill_n(labels, part.count, SampleLabel{});
    const SampleDraw samples{part, order_};
    for (std::int64_t i = 0; i < part.count; ++i) {
      Random random = samples.random(i);
      const std::int64_t slot = samples.item(i, size(), random);
      std::copy_n(values_.data() + slot * dimension_, dimension_, out + i * dimension_);
      if (labels != nullptr) labels[i].item = rows_[to_size(slot)];
    }
  }

 private:
  Order order_;
  std::int64_t dimension_ = 0;
  std::vector<float> values_;
  std::vector<std::int64_t> rows_;  // of the file
};

}  // namespace

Split w2bench_split_of(std::int64_t row) {
  const PhiloxCounter hash =
      philox({static_cast<std::uint32_t>(row), static_cast<std::uint32_t>(row >> 32), 0, 0}, {0x7732, 0});
  return hash[0] % 16 == 0 ? Split::validation : Split::train;
}

std::unique_ptr<Dataset> open_w2bench(const DatasetConfig& config, Split split,
                                      const fs::path& data_directory) {
  return std::make_unique<W2Bench>(config, split, data_directory);
}

std::optional<KnownTruth> w2bench_truth(const DatasetConfig& source, const DatasetConfig& target,
                                        const fs::path& data_directory, const RandomState&, std::int64_t) {
  const fs::path path = found_file(source, data_directory);
  if (source.role != "source" || target.role != "target" ||
      !fs::equivalent(path, found_file(target, data_directory))) {
    return std::nullopt;
  }
  const File file(path);
  Rows rows = file.rows("test_source");
  return KnownTruth{rows.count, std::move(rows.values), file.rows("test_target").values,
                    file.target_variance()};
}

}  // namespace voxot
