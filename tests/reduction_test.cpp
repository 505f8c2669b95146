// Reductions and losses.
#include "engine/ops/reduction.h"

#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

using Inputs = std::vector<Tensor>;

const std::pair<const char*, Reduction> kKinds[] = {
    {"sum", Reduction::sum}, {"mean", Reduction::mean}, {"variance", Reduction::variance}};

const Shape kLarge{40001};  // several slices, and enough for all threads

}  // namespace

TEST_CASE("reduction: over every axis", "[reduction][device]") {
  for (const auto& [name, kind] : kKinds) {
    for (const Shape& shape : {Shape{3, 4, 2, 5, 3}, Shape{7, 5}, Shape{2, 2}}) {
      for (std::size_t axis = 0; axis < shape.rank(); ++axis) {
        OpCase c;
        c.name = fmt::format("{} over axis {} of {}", name, axis, shape.text());
        c.inputs = {{shape}};
        c.op = [kind = kind, axis](Tape& tape, const Inputs& in) {
          return ops::reduce(tape, in[0], kind, axis);
        };
        check(c);
      }
    }
  }
}

TEST_CASE("reduction: over long axes", "[reduction][device]") {
  // Over 8,500 elements, so without the slow check by differences. On a GPU: rows and columns, whole vectors
  // and not, in one block and in several chunks, one tile and two.
  const std::pair<Shape, std::size_t> cases[] = {{{90, 100}, 1}, {{3, 3001}, 1}, {{2, 5000}, 1},
                                                 {{1300, 7}, 0}, {{6001, 3}, 0}, {{1, 2500, 8}, 1},
                                                 {{50, 264}, 0}, {{67, 130}, 0}};
  for (const auto& [name, kind] : kKinds) {
    for (const auto& [shape, axis] : cases) {
      OpCase c;
      c.name = fmt::format("{} over axis {} of {}", name, axis, shape.text());
      c.inputs = {{shape}};
      c.op = [kind = kind, axis = axis](Tape& tape, const Inputs& in) {
        return ops::reduce(tape, in[0], kind, axis);
      };
      check(c);
    }
  }
}

TEST_CASE("reduction: at any alignment", "[reduction][device]") {
  const Device device = GENERATE(from_range(devices()));
  const ReductionParams views[] = {{Reduction::variance, 1, 5003, 1}, {Reduction::variance, 3, 1500, 1},
                                   {Reduction::variance, 2, 300, 8},  {Reduction::variance, 2, 5, 16},
                                   {Reduction::sum, 2, 700, 3},       {Reduction::mean, 1, 5003, 1}};
  for (const ReductionParams& p : views) {
    const std::int64_t count = p.outer * p.axis * p.inner;
    const std::vector<double> values = test_values(count, Values::normal, 9);
    const auto variances = [&](DType dtype, std::int64_t offset, Device where) {
      const Guarded x({count}, values, dtype, NAN, where, offset);
      const Guarded y({p.outer * p.inner}, {}, dtype, kSentinel, where, offset);
      kernels::reduce_forward(x.stream(), dtype, p, x.data(), y.data());
      return doubles(y);
    };
    const std::vector<double> expected = variances(DType::f64, 0, Device::cpu);
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      for (std::int64_t offset = 0; offset < 4; ++offset) {
        INFO(fmt::format("{}×{}×{} {} on {}, {} off", p.outer, p.axis, p.inner, name_of(dtype),
                         name_of(device), offset));
        const double error = distance(variances(dtype, offset, device), expected);
        // The inputs are exact in every type and the sums in double: only the result is rounded.
        CHECK(error < (dtype == DType::f64 ? 1e-13 : dtype == DType::f32 ? 1e-7 : 4e-3));
      }
    }
  }
}

TEST_CASE("reduction: the same inputs give the same bits", "[reduction][device]") {
  const Device device = GENERATE(from_range(devices()));
  Tape tape;
  const Tensor x = Tensor::normal({30011, 3}, {1, Purpose::test, 0}, 0, 1, DType::f32, device);
  const auto once = [&](Reduction kind) {
    std::vector<double> values = doubles(ops::reduce(tape, x, kind, 0));
    values.push_back(ops::reduce_all(tape, x, kind).item());
    return values;
  };
  for (const auto& [name, kind] : kKinds) {
    INFO(name << " on " << name_of(device));
    const std::vector<double> first = once(kind);
    for (int i = 0; i < 3; ++i) CHECK(once(kind) == first);
  }
}

TEST_CASE("reduction: over everything", "[reduction][device]") {
  for (const auto& [name, kind] : kKinds) {
    for (const Shape& shape : {Shape{2, 3, 1, 5, 3}, kLarge}) {
      OpCase c;
      c.name = fmt::format("{} of {}", name, shape.text());
      c.inputs = {{shape}};
      c.op = [kind = kind](Tape& tape, const Inputs& in) { return ops::reduce_all(tape, in[0], kind); };
      check(c);
    }
  }
}

TEST_CASE("reduction: values by hand", "[reduction][device]") {
  const Device device = GENERATE(from_range(devices()));
  Tape tape;
  const Tensor x = Tensor::from({2, 3}, std::span<const double>(std::vector<double>{1, 2, 6, 0, 4, 5}),
                                DType::f64, device);
  CHECK(doubles(ops::reduce(tape, x, Reduction::sum, 0)) == std::vector<double>{1, 6, 11});
  CHECK(doubles(ops::reduce(tape, x, Reduction::mean, 1)) == std::vector<double>{3, 3});
  CHECK(doubles(ops::reduce(tape, x, Reduction::variance, 1)) == std::vector<double>{7, 7});
  CHECK(doubles(ops::reduce(tape, x, Reduction::variance, 0)) == std::vector<double>{0.5, 2, 0.5});
  CHECK(ops::sum(tape, x).item() == 18);
  CHECK(ops::mean(tape, x).item() == 3);
  CHECK(ops::reduce(tape, x, Reduction::sum, 0).shape() == Shape{3});
  CHECK_THAT(error_of([&] { ops::reduce(tape, x, Reduction::sum, 2); }), Catch::Contains("axis 2 of 2×3"));
  const Tensor one = Tensor::full({1, 3}, 1);
  CHECK_THAT(error_of([&] { ops::reduce(tape, one, Reduction::variance, 0); }),
             Catch::Contains("1 elements"));
}

TEST_CASE("reduction: long fp32 sums do not drift", "[reduction][device]") {
  const Device device = GENERATE(from_range(devices()));
  // 2^22 times 0.1 in one running fp32 sum would be 1e-2 off.
  Tape tape;
  const std::int64_t n = 1 << 22;
  const double tenth = static_cast<double>(0.1F);
  const Tensor x = Tensor::full({n}, 0.1, DType::f32, device);
  CHECK(ops::sum(tape, x).item() == Approx(tenth * static_cast<double>(n)).epsilon(1e-7));
  CHECK(ops::mean(tape, x).item() == Approx(tenth).epsilon(1e-7));
  // A variance far below the squared mean.
  std::vector<double> values = test_values(1000, Values::normal, 3);
  double mean = 0;
  for (double& v : values) mean += (v = 4096 + std::round(v * 64) / 64) / 1000;
  double variance = 0;
  for (const double v : values) variance += (v - mean) * (v - mean) / 999;
  const Tensor y = Tensor::from({1000}, std::span<const double>(values), DType::f32, device);
  CHECK(ops::reduce_all(tape, y, Reduction::variance).item() == Approx(variance).epsilon(1e-6));
}

TEST_CASE("reduction: mean squared error", "[reduction][device]") {
  for (const Shape& shape : {Shape{3, 5}, Shape{2, 3, 1, 5, 3}, kLarge}) {
    OpCase c;
    c.name = shape.text();
    c.inputs = {{shape}, {shape}};
    c.op = [](Tape& tape, const Inputs& in) { return ops::mean_squared_error(tape, in[0], in[1]); };
    check(c);
  }
  Tape tape;
  const Tensor a = Tensor::from({4}, std::span<const double>(std::vector<double>{1, 2, 3, 4}));
  const Tensor b = Tensor::from({4}, std::span<const double>(std::vector<double>{1, 0, 3, 2}));
  CHECK(ops::mean_squared_error(tape, a, b).item() == 2);
  CHECK_THAT(error_of([&] {
               ops::mean_squared_error(tape, a, b.reshaped({2, 2}));
             }),
             Catch::Contains("4 fp64 with 2×2"));
}

TEST_CASE("reduction: cross entropy", "[reduction][device]") {
  const std::vector<std::int32_t> labels{0, 4, 2, 2, 1, 3, 0};
  OpCase c;
  c.name = "7×5";
  c.inputs = {{{7, 5}}};
  c.op = [&](Tape& tape, const Inputs& in) { return ops::cross_entropy(tape, in[0], labels); };
  check(c);
  // More classes than lanes, more rows than one block sums.
  std::vector<std::int32_t> many(301);
  for (std::size_t r = 0; r < many.size(); ++r) many[r] = static_cast<std::int32_t>(r * 7 % 37);
  OpCase wide;
  wide.name = "301×37";
  wide.inputs = {{{301, 37}}};
  wide.op = [&](Tape& tape, const Inputs& in) { return ops::cross_entropy(tape, in[0], many); };
  check(wide);
}

TEST_CASE("reduction: cross entropy of equal and of huge logits", "[reduction][device]") {
  const Device device = GENERATE(from_range(devices()));
  Tape tape;
  // Equal logits: log of the number of classes. Huge ones: neither overflow nor NaN.
  const std::vector<std::int32_t> two{1, 0};
  CHECK(ops::cross_entropy(tape, Tensor::full({2, 8}, 3, DType::f64, device), two).item() ==
        Approx(std::log(8.0)));
  Tensor huge = Tensor::from({2, 2}, std::span<const double>(std::vector<double>{1e4, -1e4, 1e4, -1e4}),
                             DType::f32, device);
  huge.require_gradient();
  const Tensor loss = ops::cross_entropy(tape, huge, two);
  CHECK(loss.item() == Approx(1e4));
  tape.backward(loss);
  CHECK(distance(doubles(gradient_of(huge)), std::vector<double>{0.5, -0.5, 0, 0}) < 1e-6);
}

TEST_CASE("reduction: cross entropy refuses bad labels", "[reduction]") {
  Tape tape;
  Tensor x = Tensor::full({2, 3}, 0);
  x.require_gradient();
  const auto message = [&](const std::vector<std::int32_t>& labels) {
    return error_of([&] { ops::cross_entropy(tape, x, labels); });
  };
  CHECK_THAT(message({0, 3}), Catch::Contains("label 3 of row 1 is outside [0, 3)"));
  CHECK_THAT(message({-1, 0}), Catch::Contains("label -1 of row 0"));
  CHECK_THAT(message({0}), Catch::Contains("1 labels for input 2×3"));
  CHECK(tape.size() == 0);
}
