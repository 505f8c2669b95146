// The scores of a map cannot be fooled: what a map that does nothing gets, what a shuffle of real targets
// gets, and what diversity measures.
#include <catch2/catch.hpp>

#include "apps/diversity.h"
#include "apps/judge.h"
#include "solvers/metrics.h"
#include "tests/one_thread.h"
#include "tests/temp_directory.h"

using namespace voxot;

namespace {

constexpr std::int64_t kSamples = 256;

DatasetConfig digits(int digit) {
  DatasetConfig config;
  config.dataset = "digits";
  config.classes = {digit};
  config.resolution = 8;
  config.extrude = {2, 6};
  return config;
}

LabelledBatch test_samples(const DatasetConfig& config, std::uint64_t draw, std::int64_t count) {
  return draw_batch(*open_dataset(config, Split::test, {}), {3, Purpose::evaluation, draw}, count);
}

/// Two colours, two sources each; channels first lit.
LabelledBatch coloured_sources() {
  LabelledBatch batch{Tensor::full({4, 1, 1, 2, 3}, -1), {}};
  for (std::int64_t i = 0; i < 4; ++i) {
    const int colour = i < 2 ? 0 : 1;  // red, green
    for (std::int64_t v = 0; v < 2; ++v) batch.volumes.as<float>()[(i * 2 + v) * 3 + colour] = 1;
    batch.labels.push_back({colour == 0 ? 3 : 5, colour, colour == 0 ? 0.0F : 120.0F, i});
  }
  return batch;
}

}  // namespace

TEST_CASE("metrics: the discrete cost is that of the points, far from the origin", "[metrics]") {
  // Partners at 0.25 and 0.5, of points 1 and more apart; products of 1e8 in double would leave 8 digits of
  // 1e16.
  const std::vector<double> a{1e8, -1e8, 1e8 + 1, -1e8, 1e8 + 2, -1e8};
  const std::vector<double> b{1e8 + 2, -1e8 + 0.5, 1e8, -1e8 + 0.25, 1e8 + 1, -1e8 + 0.25};
  const Tensor x = Tensor::from({3, 2}, std::span<const double>(a));
  const Tensor y = Tensor::from({3, 2}, std::span<const double>(b));
  CHECK(discrete_cost(x, y) == Approx((0.0625 + 0.0625 + 0.25) / 6).epsilon(1e-12));
  CHECK(paired_cost(x, y) == Approx((4 + 0.25 + 1 + 0.0625 + 1 + 0.0625) / 6).epsilon(1e-12));
}

TEST_CASE("scores: a map that does nothing, and a shuffle of real targets", "[scores]") {
  const test::OneThread one;
  const test::TempDirectory folder;
  JudgeConfig config;
  config.steps = 400;
  config.width = 12;
  config.required = 0.9;
  Judge judge(config, digits(5), {}, folder.path() / "judge.safetensors", Device::cpu, true);
  INFO("the judge's own accuracy is " << judge.accuracy());
  REQUIRE(judge.trusted());

  const LabelledBatch from = test_samples(digits(3), 1, kSamples);
  const LabelledBatch real = test_samples(digits(5), 2, kSamples);
  const MapScores identity = score_map(judge, digits(3), {5}, from, from.volumes);
  CHECK(identity.target_accuracy < 0.1);
  CHECK(identity.colour.kept == 1);
  CHECK(identity.transport_cost == 0);

  // Targets drawn without a look at the sources: the best accuracy that there is, but one colour in four
  // stays (0.25 ± 0.03), and the cost is well over that of the best pairing of the same volumes.
  const MapScores shuffled = score_map(judge, digits(3), {5}, from, real.volumes);
  CHECK(shuffled.target_accuracy > 0.9);
  CHECK(shuffled.colour.kept == Approx(0.25).margin(0.1));
  CHECK(shuffled.transport_cost > 1.5 * discrete_cost(from.volumes, real.volumes));
}

TEST_CASE("scores: colours are counted where every source has a known hue, and of those that were drawn",
          "[scores]") {
  const test::OneThread one;
  const test::TempDirectory folder;
  JudgeConfig config;
  config.steps = 1;
  const auto file = folder.path() / "judge.safetensors";
  DatasetConfig grey = digits(5);
  grey.colour = "none";
  for (const DatasetConfig& target : {digits(5), grey}) {
    Judge judge(config, target, {}, file, Device::cpu, true);
    LabelledBatch own = test_samples(target, 1, 20);
    for (SampleLabel& label : own.labels) label = {};
    // "four" is the colour of a config that says nothing of it, as one of anyone's own arrays does.
    const MapScores scores = score_map(judge, digits(3), {5}, own, own.volumes);
    CHECK(scores.colour.names.empty());
  }
  Judge judge(config, digits(5), {}, file, Device::cpu, true);
  LabelledBatch red = test_samples(digits(3), 1, 1);
  const MapScores scores = score_map(judge, digits(3), {5}, red, red.volumes);
  REQUIRE(scores.colour.names.size() == 1);
  CHECK(scores.colour.count == std::vector<std::int64_t>{1});
  CHECK(scores.colour.kept == 1);
}

TEST_CASE("scores: nothing is judged where a map that does nothing would be right", "[scores]") {
  RunConfig config;
  config.source = digits(3);
  config.target = digits(5);
  CHECK(can_be_judged(config));
  config.target.classes = {3, 5};
  CHECK_FALSE(can_be_judged(config));
  config.target.classes = {5};
  config.source.classes.clear();
  CHECK_FALSE(can_be_judged(config));
  config.source.dataset = "npy";
  CHECK(can_be_judged(config));
}

TEST_CASE("scores: the judge as it comes tells the digits that need no data", "[scores][slow]") {
  DatasetConfig volumes;
  volumes.dataset = "digits";
  const test::TempDirectory folder;
  const Judge judge({}, volumes, {}, folder.path() / "judge.safetensors", Device::cpu, true);
  INFO(judge.accuracy());
  CHECK(judge.trusted());
}

TEST_CASE("scores: a judge below what is required is not trusted", "[scores]") {
  const test::OneThread one;
  const test::TempDirectory folder;
  JudgeConfig config;
  config.steps = 1;
  const auto file = folder.path() / "judge.safetensors";
  const Judge untrained(config, digits(5), {}, file, Device::cpu, true);
  CHECK(untrained.accuracy() < 0.5);
  CHECK_FALSE(untrained.trusted());
  // The file serves another config that wants the same judge, and no other.
  config.required = 0.01;
  CHECK(Judge(config, digits(5), {}, file, Device::cpu, true).trusted());
  config.classes = {3, 5};
  CHECK(Judge(config, digits(5), {}, file, Device::cpu, true).accuracy() != untrained.accuracy());
}

TEST_CASE("scores: diversity is the variance over the noise, whole and of the shape", "[scores]") {
  const LabelledBatch sources = coloured_sources();
  // Draws 0, 1, 2, 3 darken every source's own channel by 0, 0.2, 0.4, 0.6 (reds twice as much): unbiased
  // variances 0.2²·5/3 of the channel that varies, a third of that per value; of the density a quarter.
  const auto darken = [&](const Tensor& x, std::uint64_t draw) {
    Tensor y = x.clone();
    for (std::int64_t i = 0; i < 4; ++i) {
      const float by = 0.2F * static_cast<float>(draw) * (i < 2 ? 2.0F : 1.0F);
      for (std::int64_t v = 0; v < 2; ++v) y.as<float>()[(i * 2 + v) * 3 + (i < 2 ? 0 : 1)] -= by;
    }
    return y;
  };
  const double green = 0.04 * 5 / 3 / 3;
  const Diversity d = measure_diversity(darken, sources, digits(3), 4);
  CHECK(d.variance == Approx((green + 4 * green) / 2));
  CHECK(d.shape == Approx(3 * d.variance / 4));
  CHECK(d.hue_kept == 1.0);
  REQUIRE(d.by_colour.size() == 2);
  CHECK(d.by_colour[0].first == "green");
  CHECK(d.by_colour[0].second == Approx(green));
  CHECK(d.by_colour[1].second == Approx(4 * green));
  REQUIRE(d.by_class.size() == 2);
  CHECK(d.by_class[0].first == "3");
  CHECK(d.by_class[0].second == Approx(4 * green));
}

TEST_CASE("scores: diversity of volumes whose colours and digits nobody knows", "[scores]") {
  LabelledBatch sources = coloured_sources();
  for (SampleLabel& label : sources.labels) label = {};
  const auto same = [](const Tensor& x, std::uint64_t) { return x.clone(); };
  const Diversity d = measure_diversity(same, sources, digits(3), 2);
  CHECK(d.variance == 0);
  CHECK_FALSE(d.hue_kept.has_value());
  CHECK(d.by_colour.empty());
  CHECK(d.by_class.empty());
}

TEST_CASE("scores: diversity of colour alone is told from diversity of shape", "[scores]") {
  // Every second draw exchanges red and green: values vary, densities do not, half of the draws lose the
  // colour.
  const auto exchange = [](const Tensor& x, std::uint64_t draw) {
    Tensor y = x.clone();
    if (draw % 2 == 0) return y;
    for (std::int64_t v = 0; v < 8; ++v) std::swap(y.as<float>()[v * 3], y.as<float>()[v * 3 + 1]);
    return y;
  };
  const Diversity d = measure_diversity(exchange, coloured_sources(), digits(3), 4);
  CHECK(d.variance > 0.5);
  CHECK(d.shape == 0);
  CHECK(d.hue_kept == 0.5);
}
