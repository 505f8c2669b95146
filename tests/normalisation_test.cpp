// Batch, group and instance normalisation.
#include "engine/ops/normalisation.h"

#include "engine/parameters.h"
#include "kernels/sizes.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

constexpr Activation kRelu{ActivationKind::relu, 0};
constexpr Activation kLeaky{ActivationKind::leaky_relu, 0.2F};
constexpr Activation kSilu{ActivationKind::silu, 0};

OpCase batch_case(std::string name, const Shape& shape, bool training, bool affine, Activation activation) {
  OpCase c;
  c.name = std::move(name);
  const Shape channels{shape.back()};
  c.inputs = {{shape}};
  if (affine) {
    c.inputs.push_back({channels, true, Values::away});
    c.inputs.push_back({channels, true});
  }
  c.inputs.push_back({channels, true, Values::normal, false});    // running mean
  c.inputs.push_back({channels, true, Values::positive, false});  // running variance
  c.op = [=](Tape& tape, const std::vector<Tensor>& in) {
    ops::BatchNormOptions options;
    options.training = training;
    options.activation = activation;
    const std::size_t n = in.size();
    return ops::batch_norm(tape, in[0], affine ? in[1] : Tensor{}, affine ? in[2] : Tensor{}, in[n - 2],
                           in[n - 1], options);
  };
  return c;
}

OpCase group_case(std::string name, const Shape& shape, std::int64_t groups, bool affine,
                  Activation activation) {
  OpCase c;
  c.name = std::move(name);
  c.inputs = {{shape}};
  if (affine) {
    c.inputs.push_back({{shape.back()}, true, Values::away});
    c.inputs.push_back({{shape.back()}, true});
  }
  c.op = [=](Tape& tape, const std::vector<Tensor>& in) {
    ops::NormOptions options;
    options.activation = activation;
    return ops::group_norm(tape, in[0], groups, affine ? in[1] : Tensor{}, affine ? in[2] : Tensor{},
                           options);
  };
  return c;
}

struct Moments {
  double mean = 0, variance = 0;  // biased
};
/// Of channel c of values laid out as rows × channels.
Moments moments(const std::vector<double>& v, std::size_t channels, std::size_t c) {
  Moments m;
  const double n = static_cast<double>(v.size() / channels);
  for (std::size_t i = c; i < v.size(); i += channels) m.mean += v[i] / n;
  for (std::size_t i = c; i < v.size(); i += channels) m.variance += (v[i] - m.mean) * (v[i] - m.mean) / n;
  return m;
}

}  // namespace

TEST_CASE("normalisation: batch", "[normalisation][device]") {
  const OpCase cases[] = {
      batch_case("training", {2, 3, 2, 5, 3}, true, true, {}),
      batch_case("training, relu", {3, 2, 3, 3, 4}, true, true, kRelu),
      batch_case("training, leaky", {1, 3, 3, 5, 8}, true, true, kLeaky),
      batch_case("training, one channel", {2, 3, 3, 3, 1}, true, true, {}),
      batch_case("training, no weights", {2, 3, 1, 5, 5}, true, false, kRelu),
      batch_case("training, vectors", {7, 33}, true, true, {}),
      batch_case("training, silu", {3, 2, 3, 3, 4}, true, true, kSilu),
      batch_case("training, silu, no weights", {2, 3, 3, 5, 3}, true, false, kSilu),
      batch_case("evaluation, silu", {2, 2, 3, 3, 8}, false, true, kSilu),
      batch_case("evaluation", {2, 3, 2, 5, 3}, false, true, {}),
      batch_case("evaluation, leaky", {1, 2, 3, 3, 17}, false, true, kLeaky),
      batch_case("evaluation, one row", {1, 5}, false, true, {}),
  };
  for (const OpCase& c : cases) check(c);
}

TEST_CASE("normalisation: group and instance", "[normalisation][device]") {
  const OpCase cases[] = {
      group_case("two groups", {2, 3, 2, 3, 6}, 2, true, {}),
      group_case("two groups, relu", {3, 3, 2, 3, 4}, 2, true, kRelu),
      group_case("one group", {2, 2, 3, 3, 5}, 1, true, kLeaky),
      group_case("instance", {2, 3, 3, 3, 5}, 5, true, {}),
      group_case("instance, leaky", {1, 3, 5, 3, 3}, 3, true, kLeaky),
      group_case("instance, no weights", {2, 3, 3, 5, 2}, 2, false, kRelu),
      group_case("two groups, silu", {3, 3, 2, 3, 6}, 2, true, kSilu),
      group_case("instance, silu, no weights", {2, 3, 3, 5, 2}, 2, false, kSilu),
      group_case("eight groups of 72, silu", {2, 1, 3, 3, 72}, 8, true, kSilu),
      group_case("eight groups of 72 channels", {2, 1, 3, 3, 72}, 8, true, kRelu),
  };
  for (const OpCase& c : cases) check(c);
}

TEST_CASE("normalisation: a NaN makes both statistics of its channel NaN, and no other's",
          "[normalisation][device]") {
  const Device device = GENERATE(from_range(devices()));
  const DType dtype = GENERATE(DType::f64, DType::f32, DType::bf16);
  for (const std::int64_t channels : {1, 3, 16}) {
    for (const std::int64_t rows : {1, 700, 20000}) {
      for (const std::int64_t row : {std::int64_t{0}, rows / 2, rows - 1}) {
        std::vector<double> values = test_values(rows * channels, Values::normal, 3);
        values[to_size(row * channels + channels / 2)] = NAN;
        const Tensor x = Tensor::from({rows, channels}, std::span<const double>(values), dtype, device);
        const DType type = dtype == DType::f64 ? DType::f64 : DType::f32;
        const Tensor mean = Tensor::empty({channels}, type, device);
        const Tensor variance = Tensor::empty({channels}, type, device);
        kernels::normalisation_statistics(x.stream(), dtype, {1, rows, channels, channels}, x.data(),
                                          mean.data(), variance.data());
        const std::vector<double> m = doubles(mean);
        const std::vector<double> v = doubles(variance);
        INFO(rows << " rows of " << channels << ", NaN in " << row << ", " << name_of(dtype) << " on "
                  << name_of(device));
        for (std::size_t c = 0; c < m.size(); ++c) {
          const bool bad = c == to_size(channels / 2);
          CHECK((std::isnan(m[c]) == bad && std::isnan(v[c]) == bad));
        }
      }
    }
  }
}

TEST_CASE("normalisation: enough rows for several slices and threads", "[normalisation][device]") {
  check(batch_case("many rows", {2, 20, 25, 40, 3}, true, true, kRelu));
}

TEST_CASE("normalisation: running statistics", "[normalisation][device]") {
  const DType dtype = GENERATE(DType::f64, DType::f32);
  const Device device = GENERATE(from_range(devices()));
  const std::size_t channels = 3;
  const std::vector<double> values = test_values(2 * 2 * 3 * 4 * 3, Values::normal, 5);
  const Tensor x = Tensor::from({2, 2, 3, 4, 3}, std::span<const double>(values), dtype, device);
  const Tensor mean = Tensor::full({3}, 0.5, dtype, device);
  const Tensor variance = Tensor::full({3}, 2, dtype, device);
  Tape tape;
  ops::BatchNormOptions options;
  options.momentum = 0.25;
  const Tensor y = ops::batch_norm(tape, x, {}, {}, mean, variance, options);
  const double rows = 48;
  for (std::size_t c = 0; c < channels; ++c) {
    const Moments of_x = moments(values, channels, c);
    const Moments of_y = moments(doubles(y), channels, c);
    CHECK(of_y.mean == Approx(0).margin(1e-6));
    CHECK(of_y.variance == Approx(1).epsilon(1e-4));  // ε = 1e-5 of a variance near 1
    CHECK(doubles(mean)[c] == Approx(0.75 * 0.5 + 0.25 * of_x.mean).epsilon(1e-6));
    CHECK(doubles(variance)[c] == Approx(0.75 * 2 + 0.25 * of_x.variance * rows / (rows - 1)).epsilon(1e-6));
  }
  // Evaluation reads them and leaves them alone.
  const std::vector<double> mean_before = doubles(mean);
  options.training = false;
  const std::vector<double> evaluated = doubles(ops::batch_norm(tape, x, {}, {}, mean, variance, options));
  CHECK(doubles(mean) == mean_before);
  const double expected = (values[0] - mean_before[0]) / std::sqrt(doubles(variance)[0] + 1e-5);
  CHECK(evaluated[0] == Approx(expected).epsilon(1e-5));
}

TEST_CASE("normalisation: a large mean does not destroy the variance", "[normalisation][device]") {
  const Device device = GENERATE(from_range(devices()));
  // 4096 + multiples of 1/64 are exact in fp32; E[x²] − E[x]² in fp32 would be off by 4096²·6e-8 ≈ 1.
  const std::int64_t rows = 5000;
  std::vector<double> values = test_values(rows * 3, Values::normal, 9);
  for (double& v : values) v = 4096 + std::round(v * 64) / 64;
  const Tensor x = Tensor::from({rows, 3}, std::span<const double>(values), DType::f32, device);
  const Tensor mean = Tensor::full({3}, 0, DType::f32, device);
  const Tensor variance = Tensor::full({3}, 0, DType::f32, device);
  Tape tape;
  ops::BatchNormOptions options;
  options.momentum = 1;
  const std::vector<double> y = doubles(ops::batch_norm(tape, x, {}, {}, mean, variance, options));
  for (std::size_t c = 0; c < 3; ++c) {
    const Moments m = moments(values, 3, c);
    CHECK(doubles(mean)[c] == Approx(m.mean).epsilon(1e-6));
    CHECK(doubles(variance)[c] == Approx(m.variance * rows / (rows - 1)).epsilon(1e-4));
    // The mean is known to half an ulp of 4096, 2.4e-4; the normalised values inherit that.
    double worst = 0;
    for (std::size_t i = c; i < values.size(); i += 3) {
      worst = std::max(worst, std::abs(y[i] - (values[i] - m.mean) / std::sqrt(m.variance + 1e-5)));
    }
    CHECK(worst < 1e-3);
  }
}

TEST_CASE("normalisation: an outlier in the first row does not destroy the variance",
          "[normalisation][device]") {
  const Device device = GENERATE(from_range(devices()));
  // Sums are taken about the first row, so an odd first row must not cost accuracy.
  std::vector<double> values = test_values(4000, Values::normal, 10);
  values[0] = 100;
  const Moments m = moments(values, 1, 0);
  const Tensor x = Tensor::from({4000, 1}, std::span<const double>(values), DType::f32, device);
  const Tensor mean = Tensor::full({1}, 0, DType::f32, device);
  const Tensor variance = Tensor::full({1}, 0, DType::f32, device);
  Tape tape;
  ops::BatchNormOptions options;
  options.momentum = 1;
  ops::batch_norm(tape, x, {}, {}, mean, variance, options);
  // d² ~ 1e4 is summed to find a variance of 3: fp32 sums of 32 rows lose 1e4·6e-8/3 ≈ 2e-4 at most.
  CHECK(variance.item() == Approx(m.variance * 4000 / 3999).epsilon(2e-4));
  CHECK(mean.item() == Approx(m.mean).margin(1e-4));
}

TEST_CASE("normalisation: a Norm stands alone, and after a convolution does the same", "[normalisation]") {
  const std::vector<double> values = test_values(2 * 3 * 3 * 3 * 6, Values::normal, 3);
  const Tensor x = Tensor::from({2, 3, 3, 3, 6}, std::span<const double>(values), DType::f32);
  const Activation act = GENERATE(Activation{}, kRelu, kSilu);
  Tape tape;
  const NoRecord quiet(tape);
  Conv3d conv(6, 12, 3, {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}});
  Initialiser initialiser(Initialisation::pytorch_default, 1, 0);
  conv.initialise(initialiser);
  for (const NormKind kind : {NormKind::none, NormKind::batch, NormKind::group, NormKind::instance}) {
    for (const bool training : {true, false}) {
      INFO(static_cast<int>(kind) << (training ? ", training" : ", evaluation"));
      Norm alone(kind, 12, 3);
      Norm fused(kind, 12, 3);
      alone.set_training(training);
      fused.set_training(training);
      const Tensor y = conv(tape, x);
      const Tensor expected = alone(tape, y, act);
      CHECK(distance(conv_norm_act(tape, conv, fused, x, act), expected) < 1e-6);
      if (kind == NormKind::group)
        CHECK(doubles(expected) == doubles(ops::group_norm(tape, y, 3, {}, {}, {1e-5, act, {}})));
      const auto of_alone = state_dict(alone);
      const auto of_fused = state_dict(fused);
      for (const auto& [name, array] : of_alone) {
        const std::vector<float> there = of_fused.at(name).to_floats();
        const std::vector<float> here = array.to_floats();
        CHECK(distance(std::vector<double>(here.begin(), here.end()),
                       std::vector<double>(there.begin(), there.end())) < 1e-6);
      }
    }
  }
  // Of vectors too; min(8, channels) groups where none are said.
  const Tensor rows = x.reshaped({54, 6});
  Norm six(NormKind::group, 6);
  CHECK(doubles(six(tape, rows)) == doubles(ops::group_norm(tape, rows, 6, {}, {})));
  CHECK_THAT(error_of([] { Norm(NormKind::group, 12); }), Catch::Contains("12 channels do not fall into 8"));
  CHECK_THAT(error_of([] { Norm(NormKind::group, 6, 4); }), Catch::Contains("6 channels do not fall into 4"));
}

TEST_CASE("normalisation: what does not fit", "[normalisation]") {
  Tape tape;
  const Tensor x = Tensor::full({2, 3, 3, 3, 6}, 1);
  const Tensor six = Tensor::full({6}, 1);
  CHECK_THAT(error_of([&] { ops::group_norm(tape, x, 4, six, six); }), Catch::Contains("6 channels"));
  CHECK_THAT(error_of([&] { ops::group_norm(tape, x, 2, Tensor::full({5}, 1), six); }),
             Catch::Contains("weight 5"));
  CHECK_THAT(error_of([&] { ops::group_norm(tape, x, 2, six.to(DType::f64), six); }),
             Catch::Contains("fp64"));
  CHECK_THAT(error_of([&] {
               ops::batch_norm(tape, Tensor::full({1, 6}, 1), six, six, six, six, {});
             }),
             Catch::Contains("more than one value"));
}
