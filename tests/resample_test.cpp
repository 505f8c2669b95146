// Upsampling and joining channels.
#include "engine/ops/resample.h"

#include "kernels/sizes.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

using Triple = std::array<std::int64_t, 3>;

Tensor values_of(const Shape& shape, std::uint64_t seed, DType dtype = DType::f64,
                 Device device = Device::cpu) {
  return Tensor::from(shape, std::span<const double>(test_values(shape.count(), Values::normal, seed)), dtype,
                      device);
}

}  // namespace

TEST_CASE("resample: upsampling", "[resample][device]") {
  struct Case {
    Shape shape;
    Triple factor;
  };
  const Case cases[] = {
      {{2, 2, 3, 1, 3}, {2, 2, 2}}, {{1, 1, 1, 1, 1}, {2, 2, 2}},   {{1, 3, 2, 4, 5}, {1, 2, 3}},
      {{3, 1, 5, 4, 4}, {1, 2, 2}}, {{1, 2, 1, 2, 300}, {2, 1, 2}},  // more channels than one block of the
                                                                     // backward pass
  };
  for (const Case& k : cases) {
    for (const auto mode : {ops::Upsampling::nearest, ops::Upsampling::trilinear}) {
      OpCase c;
      c.name =
          fmt::format("{} {}", mode == ops::Upsampling::nearest ? "nearest" : "trilinear", k.shape.text());
      c.inputs = {{k.shape}};
      c.op = [&](Tape& tape, const std::vector<Tensor>& in) {
        return ops::upsample(tape, in[0], k.factor, mode);
      };
      check(c);
    }
  }
}

TEST_CASE("resample: nearest repeats every voxel", "[resample][device]") {
  const Device device = GENERATE(from_range(devices()));
  Tape tape;
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
    const Tensor x = values_of({2, 2, 3, 2, 3}, 1, dtype, device);
    const Tensor y = ops::upsample(tape, x, {2, 1, 3}, ops::Upsampling::nearest);
    REQUIRE(y.shape() == Shape{2, 4, 3, 6, 3});
    const std::vector<double> from = doubles(x);
    std::vector<double> expected;
    for (std::int64_t i = 0; i < y.count(); ++i) {
      const std::int64_t c = i % 3;
      const std::int64_t w = i / 3 % 6;
      const std::int64_t h = i / 18 % 3;
      const std::int64_t d = i / 54 % 4;
      const std::int64_t n = i / 216;
      expected.push_back(from[to_size((((n * 2 + d / 2) * 3 + h) * 2 + w / 3) * 3 + c)]);
    }
    CHECK(doubles(y) == expected);
  }
}

TEST_CASE("resample: trilinear keeps constants, and ramps between the outer half voxels",
          "[resample][device]") {
  const Device device = GENERATE(from_range(devices()));
  Tape tape;
  const Tensor constant = Tensor::full({1, 2, 3, 2, 2}, 0.75, DType::f64, device);
  const std::vector<double> flat =
      doubles(ops::upsample(tape, constant, {2, 2, 2}, ops::Upsampling::trilinear));
  for (const double v : flat) CHECK(v == Approx(0.75).epsilon(1e-15));
  const std::vector<double> ramp{0, 1, 2, 3};
  const Tensor line = Tensor::from({1, 1, 1, 4, 1}, std::span<const double>(ramp), DType::f64, device);
  const std::vector<double> y = doubles(ops::upsample(tape, line, {1, 1, 2}, ops::Upsampling::trilinear));
  CHECK(distance(y, std::vector<double>{0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3}) < 1e-15);
}

TEST_CASE("resample: joining channels", "[resample][device]") {
  const std::pair<Shape, Shape> shapes[] = {{{2, 2, 3, 1, 3}, {2, 2, 3, 1, 5}},
                                            {{1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}},
                                            {{4, 3}, {4, 1}},
                                            {{2, 3, 2, 2, 16}, {2, 3, 2, 2, 1}}};
  for (const auto& [a, b] : shapes) {
    OpCase c;
    c.name = fmt::format("{} and {}", a.text(), b.text());
    c.inputs = {{a}, {b}};
    c.op = [](Tape& tape, const std::vector<Tensor>& in) { return ops::concat_channels(tape, in[0], in[1]); };
    check(c);
  }
  Tape tape;
  const Tensor a = values_of({2, 2}, 1);
  const Tensor b = values_of({2, 1}, 2);
  const std::vector<double> x = doubles(a);
  const std::vector<double> y = doubles(b);
  for (const Device device : devices()) {
    CHECK(doubles(ops::concat_channels(tape, a.to(device), b.to(device))) ==
          std::vector<double>{x[0], x[1], y[0], x[2], x[3], y[1]});
  }
  CHECK_THAT(error_of([&] {
               ops::concat_channels(tape, a, values_of({3, 1}, 1));
             }),
             Catch::Contains("2×2 fp64 with 3×1"));
  CHECK_THAT(error_of([&] { ops::concat_channels(tape, a, b.to(DType::f32)); }), Catch::Contains("fp32"));
  // The same count of rows is not the same shape.
  CHECK_THAT(error_of([&] {
               ops::concat_channels(tape, values_of({2, 3, 1}, 1), values_of({3, 2, 1}, 1));
             }),
             Catch::Contains("2×3×1 with 3×2×1"));
}

TEST_CASE("resample: joining with an upsampled volume in one pass", "[resample][device]") {
  OpCase c;
  c.name = "concat_upsampled";
  c.inputs = {{{2, 4, 2, 6, 3}}, {{2, 2, 1, 2, 5}}};
  c.op = [](Tape& tape, const std::vector<Tensor>& in) { return ops::concat_upsampled(tape, in[0], in[1]); };
  check(c);
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      Tape tape;
      const Tensor skip = values_of({2, 4, 2, 6, 3}, 1, dtype, device);
      const Tensor x = values_of({2, 2, 1, 2, 5}, 2, dtype, device);
      const Tensor apart =
          ops::concat_channels(tape, skip, ops::upsample(tape, x, {2, 2, 3}, ops::Upsampling::nearest));
      CHECK(doubles(ops::concat_upsampled(tape, skip, x)) == doubles(apart));
    }
  }
  Tape tape;
  CHECK_THAT(error_of([&] {
               ops::concat_upsampled(tape, values_of({2, 4, 2, 5, 3}, 1), values_of({2, 2, 1, 2, 5}, 2));
             }),
             Catch::Contains("not a multiple"));
  CHECK_THAT(error_of([&] {
               ops::concat_upsampled(tape, values_of({2, 4, 2, 6, 3}, 1), values_of({1, 2, 1, 2, 5}, 2));
             }),
             Catch::Contains("concat_upsampled"));
}
