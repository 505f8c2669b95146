#include "apps/judge.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "apps/commands.h"
#include "datasets/kinds.h"
#include "engine/interrupt.h"
#include "engine/ops/reduction.h"
#include "engine/progress.h"
#include "engine/streams.h"
#include "kernels/sizes.h"
#include "solvers/metrics.h"

namespace voxot {
namespace {

constexpr std::int64_t kBatch = 64;
constexpr std::int64_t kTestSamples = 4096;
constexpr const char* kOptimizer = "optimizer.";  // of an unfinished judge

/// The target's kind of data with the classes that the judge knows: what it is trained and tested on.
DatasetConfig kind_of(DatasetConfig target, const JudgeConfig& judge) {
  target.classes = judge.classes;
  target.order = "random";
  return target;
}

/// What a cached judge was trained for.
std::string fingerprint(const DatasetConfig& c, const JudgeConfig& judge) {
  return fmt::format("{} {} {} {} {} {} {}-{}{}{} classes [{}] steps {} width {}", c.dataset, c.path,
                     c.colour, c.rotation, c.rotation_degrees, c.resolution, c.extrude[0], c.extrude[1],
                     kind_of(c).keys.has(DatasetKey::noise) ? fmt::format(" noise {}", c.noise) : "",
                     c.rotate == "before" ? " turned before" : "", fmt::join(c.classes, " "), judge.steps,
                     judge.width);
}

}  // namespace

std::filesystem::path judge_file(const RunConfig& config, const std::filesystem::path& run_folder) {
  return config.judge.file.empty() ? run_folder / "judge.safetensors"
                                   : std::filesystem::path(config.judge.file);
}

bool can_be_judged(const RunConfig& config) {
  const std::vector<int>& to = config.target.classes;
  if (!has_digits(config.target) || to.empty() || config.target.resolution < 8) return false;
  if (!has_digits(config.source)) return true;
  const std::vector<int>& from = config.source.classes;
  return !from.empty() && std::find_first_of(from.begin(), from.end(), to.begin(), to.end()) == from.end();
}

void check_judge_data(const JudgeConfig& config, const DatasetConfig& target,
                      const std::filesystem::path& data_directory) {
  const DatasetConfig kind = kind_of(target, config);
  for (const Split split : {Split::train, Split::test}) (void)open_dataset(kind, split, data_directory);
}

Judge::Judge(const JudgeConfig& config, const DatasetConfig& target,
             const std::filesystem::path& data_directory, const std::filesystem::path& cache, Device device,
             bool quiet)
    : config_(config), cache_(cache), device_(device) {
  const DatasetConfig kind = kind_of(target, config);
  const auto shape = open_dataset(kind, Split::test, data_directory)->sample_shape();
  VoxelClassifierOptions options;
  options.volume = shape;
  options.width = config.width;
  classifier_ = std::make_unique<VoxelClassifier>(options);
  Initialiser initialiser(Initialisation::pytorch_default, kJudgeSeed, number_of(NetworkStream::judge));
  classifier_->initialise(initialiser);
  parameters_ = std::make_unique<Parameters>(*classifier_, DType::f32, device);
  load(kind);
  if (!trained_) train(kind, data_directory, quiet);
}

/// Takes over what the cache holds for the same kind of judge: a trained one, or one that a signal stopped.
void Judge::load(const DatasetConfig& kind) {
  if (!std::filesystem::exists(cache_)) return;
  SafetensorsFile file = read_safetensors(cache_);
  note_without_checksum(file, cache_);
  const auto made_for = [&](const char* key) {
    const auto found = file.metadata.find(key);
    return found != file.metadata.end() && found->second == fingerprint(kind, config_);
  };
  const auto accuracy = metadata_number(file.metadata, "accuracy", cache_.string(), 0.0, 1.0);
  trained_ = made_for("trained_for") && accuracy;
  if (!trained_ && !made_for("begun_for")) return;
  for (auto it = file.tensors.lower_bound(kOptimizer);
       it != file.tensors.end() && it->first.starts_with(kOptimizer); it = file.tensors.erase(it))
    unfinished_.insert(*it);
  load_state_dict(*classifier_, file.tensors, cache_.string());
  accuracy_ = accuracy.value_or(0);
}

/// A judge that cannot be kept still judges.
void Judge::store(const DatasetConfig& kind, const Optimizer* unfinished) {
  SafetensorsFile file;
  file.tensors = state_dict(*classifier_);
  if (unfinished != nullptr) {
    unfinished->save(kOptimizer, file.tensors);
    file.metadata = {{"begun_for", fingerprint(kind, config_)}};
  } else {
    file.metadata = {{"trained_for", fingerprint(kind, config_)}, {"accuracy", fmt::format("{}", accuracy_)}};
  }
  try {
    if (cache_.has_parent_path()) std::filesystem::create_directories(cache_.parent_path());
    write_safetensors(cache_, file);
  } catch (const std::exception& error) {
    note(fmt::format("the judge is not kept: {}", error.what()));
  }
}

void Judge::stop_where_signalled(const DatasetConfig& kind, const Optimizer& optimizer) {
  if (caught_signal() == 0) return;
  store(kind, &optimizer);
  note(fmt::format("stopped after {} steps of the judge, which go on from there the next time",
                   optimizer.steps()));
  throw ExitStatus{128 + caught_signal()};
}

void Judge::train(const DatasetConfig& kind, const std::filesystem::path& data_directory, bool quiet) {
  const HoldSignals hold;
  const auto data = open_dataset(kind, Split::train, data_directory);
  OptimizerOptions options;
  options.learning_rate = 2e-3;
  options.schedule = {ScheduleKind::cosine, config_.steps, 20, 0.0, {}, 0.1};
  Optimizer optimizer(*parameters_, options);
  if (!unfinished_.empty()) optimizer.load(kOptimizer, unfinished_, cache_.string());
  classifier_->set_training(true);
  std::unique_ptr<Progress> progress;
  if (!quiet) progress = std::make_unique<Progress>("judge", config_.steps, optimizer.steps());
  Tape tape;
  std::vector<std::int32_t> labels(kBatch);
  for (std::int64_t step = optimizer.steps(); step < config_.steps; ++step) {
    stop_where_signalled(kind, optimizer);
    const LabelledBatch batch =
        draw_batch(*data, {kJudgeSeed, Purpose::classifier, static_cast<std::uint64_t>(step)}, kBatch);
    std::transform(batch.labels.begin(), batch.labels.end(), labels.begin(),
                   [](const auto& l) { return l.digit; });
    const Tensor loss =
        ops::cross_entropy(tape, classifier_->forward(tape, batch.volumes.to(device_)).logits, labels);
    tape.backward(loss);
    optimizer.step();
    if (progress != nullptr) {
      const Metric metric{"loss", loss.item()};
      progress->update(step + 1, std::span(&metric, 1));
    }
  }
  progress.reset();
  classifier_->set_training(false);
  const auto test = open_dataset(kind, Split::test, data_directory);
  const LabelledBatch held_out =
      draw_batch(*test, evaluation_state(kJudgeSeed, EvaluationDraw::judge_test), kTestSamples);
  const std::int64_t each = held_out.volumes.count() / kTestSamples;
  std::vector<std::int64_t> shape(held_out.volumes.shape().extents().begin(),
                                  held_out.volumes.shape().extents().end());
  shape[0] = kBatch;
  static_assert(kTestSamples % kBatch == 0);
  std::int64_t right = 0;
  for (std::int64_t first = 0; first < kTestSamples; first += kBatch) {
    stop_where_signalled(kind, optimizer);
    const Verdict verdict = (*this)(held_out.volumes.window(first * each, Shape(shape)));
    for (std::size_t i = 0; i < verdict.classes.size(); ++i) {
      right += verdict.classes[i] == held_out.labels[to_size(first) + i].digit ? 1 : 0;
    }
  }
  accuracy_ = static_cast<double>(right) / static_cast<double>(kTestSamples);
  store(kind, nullptr);
}

Judge::Verdict Judge::operator()(const Tensor& volumes) {
  const EvaluationMode evaluation(*classifier_);
  Tape tape;
  const NoRecord quiet(tape);
  const std::int64_t n = volumes.extent(0);
  const std::int64_t features = classifier_->options().features;
  const std::int64_t classes = classifier_->options().classes;
  Verdict verdict{{}, Tensor::empty({n, features})};
  for (std::int64_t first = 0; first < n; first += kBatch) {
    const std::int64_t count = std::min(kBatch, n - first);
    const std::int64_t each = volumes.count() / n;
    const Tensor part = volumes.window(
        first * each, {count, volumes.extent(1), volumes.extent(2), volumes.extent(3), volumes.extent(4)});
    const auto result = classifier_->forward(tape, part.to(device_));
    verdict.features.window(first * features, {count, features}).copy_from(result.features);
    const std::vector<float> logits = result.logits.to_floats();
    for (std::int64_t i = 0; i < count; ++i) {
      const auto row = logits.begin() + i * classes;
      // Logits that are not finite have no largest class.
      const bool finite = std::all_of(row, row + classes, [](float v) { return std::isfinite(v); });
      verdict.classes.push_back(finite ? static_cast<int>(std::max_element(row, row + classes) - row) : -1);
    }
  }
  return verdict;
}

const std::vector<NamedHue>& counted_colours(const DatasetConfig& source) {
  return colour_palette(source.colour == "uniform" ? "six" : source.colour);
}

bool has_hues(const LabelledBatch& batch) {
  return batch.volumes.extent(4) == 3 && std::all_of(batch.labels.begin(), batch.labels.end(),
                                                     [](const SampleLabel& l) { return l.hue >= 0; });
}

bool keeps_colour(const DatasetConfig& source, float before, float after) {
  constexpr float kSameHue = 30;  // degrees: half the distance between neighbours of the six-colour palette
  if (before < 0 || after < 0) return false;
  if (source.colour != "uniform") {
    const auto& palette = counted_colours(source);
    return nearest_colour(palette, before) == nearest_colour(palette, after);
  }
  const float d = std::abs(before - after);
  return std::min(d, 360 - d) < kSameHue;
}

MapScores score_map(Judge& judge, const DatasetConfig& source, const std::vector<int>& classes,
                    const LabelledBatch& from, const Tensor& mapped) {
  MapScores scores;
  const Judge::Verdict verdict = judge(mapped);
  const std::size_t n = from.labels.size();
  std::vector<char> hit(n);
  for (std::size_t i = 0; i < n; ++i) {
    hit[i] = std::find(classes.begin(), classes.end(), verdict.classes[i]) != classes.end() ? 1 : 0;
  }
  scores.target_accuracy = share(hit);
  scores.transport_cost = paired_cost(from.volumes, mapped);
  if (!has_hues(from)) return scores;
  const auto& palette = counted_colours(source);
  std::vector<char> kept(n);
  std::vector<std::vector<char>> by_colour(palette.size());
  const std::int64_t voxels = mapped.extent(1) * mapped.extent(2) * mapped.extent(3);
  for (std::size_t i = 0; i < n; ++i) {
    const float before = from.labels[i].hue;
    const float after = dominant_hue(mapped.as<float>() + static_cast<std::int64_t>(i) * voxels * 3, voxels);
    const int colour = nearest_colour(palette, before);
    kept[i] = keeps_colour(source, before, after) ? 1 : 0;
    by_colour[to_size(colour)].push_back(hit[i]);
  }
  scores.colour.kept = share(kept);
  for (std::size_t c = 0; c < palette.size(); ++c) {
    if (by_colour[c].empty()) continue;
    scores.colour.names.emplace_back(palette[c].name);
    scores.colour.accuracy.push_back(share(by_colour[c]));
    scores.colour.count.push_back(static_cast<std::int64_t>(by_colour[c].size()));
  }
  return scores;
}

}  // namespace voxot
