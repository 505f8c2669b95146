// Max and average pooling.
#include "engine/ops/pooling.h"

#include "kernels/sizes.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

struct Window {
  const char* name;
  Shape shape;
  ops::PoolWindow window;
};

const Window kWindows[] = {
    {"2³", {2, 4, 2, 6, 3}, {}},
    {"2³, odd extents, a rest is left out", {1, 5, 3, 7, 2}, {}},
    {"3³ stride 2 padding 1", {2, 5, 6, 3, 4}, {{3, 3, 3}, {2, 2, 2}, {1, 1, 1}}},
    {"3³ stride 1 padding 1, one channel", {1, 3, 4, 5, 1}, {{3, 3, 3}, {1, 1, 1}, {1, 1, 1}}},
    {"a different thing on each axis", {2, 3, 5, 7, 3}, {{1, 2, 3}, {1, 2, 1}, {0, 1, 0}}},
    {"an image", {3, 1, 6, 8, 5}, {{1, 2, 2}, {1, 2, 2}, {0, 0, 0}}},
    {"steps over voxels", {1, 7, 7, 4, 2}, {{2, 1, 2}, {3, 2, 2}, {0, 0, 0}}},
    {"more channels than one block", {1, 2, 2, 2, 1030}, {{2, 2, 1}, {2, 2, 1}, {0, 0, 0}}},
};

/// The pooled volume by the definition; `count_padding` as in average_pool3d; `maximum` pools by the maximum.
std::vector<double> pool(const std::vector<double>& x, const Shape& shape, const ops::PoolWindow& w,
                         bool maximum, bool count_padding) {
  std::array<std::int64_t, 3> out{};
  for (std::size_t a = 0; a < 3; ++a) {
    out[a] = (shape[a + 1] + 2 * w.padding[a] - w.kernel[a]) / w.stride[a] + 1;
  }
  std::vector<double> y;
  for (std::int64_t n = 0; n < shape[0]; ++n) {
    for (std::int64_t o = 0; o < out[0] * out[1] * out[2]; ++o) {
      const std::array<std::int64_t, 3> at{o / (out[1] * out[2]), o / out[2] % out[1], o % out[2]};
      for (std::int64_t c = 0; c < shape[4]; ++c) {
        double best = -INFINITY;
        double sum = 0;
        std::int64_t inside = 0;
        const std::int64_t volume = w.kernel[0] * w.kernel[1] * w.kernel[2];
        for (std::int64_t k = 0; k < volume; ++k) {
          const std::array<std::int64_t, 3> tap{k / (w.kernel[1] * w.kernel[2]),
                                                k / w.kernel[2] % w.kernel[1], k % w.kernel[2]};
          std::int64_t index = n;
          bool valid = true;
          for (std::size_t a = 0; a < 3; ++a) {
            const std::int64_t i = at[a] * w.stride[a] - w.padding[a] + tap[a];
            valid = valid && i >= 0 && i < shape[a + 1];
            index = index * shape[a + 1] + i;
          }
          if (!valid) continue;
          const double v = x[to_size(index * shape[4] + c)];
          best = std::max(best, v);
          sum += v;
          ++inside;
        }
        y.push_back(maximum ? best : sum / static_cast<double>(count_padding ? volume : inside));
      }
    }
  }
  return y;
}

}  // namespace

TEST_CASE("pooling: max", "[pooling][device]") {
  for (const Window& w : kWindows) {
    OpCase c;
    c.name = w.name;
    c.inputs = {{w.shape, false, Values::distinct}};
    c.op = [&](Tape& tape, const std::vector<Tensor>& in) { return ops::max_pool3d(tape, in[0], w.window); };
    check(c);
    const std::vector<double> x = test_values(w.shape.count(), Values::distinct, 3);
    for (const Device device : devices()) {
      for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
        Tape tape;
        const Tensor input = Tensor::from(w.shape, std::span<const double>(x), dtype, device);
        const Tensor y = ops::max_pool3d(tape, input, w.window);
        CHECK(doubles(y) == pool(x, w.shape, w.window, true, true));  // a maximum is one of the values: exact
      }
    }
  }
}

TEST_CASE("pooling: average", "[pooling][device]") {
  for (const Window& w : kWindows) {
    for (const bool count_padding : {true, false}) {
      OpCase c;
      c.name = fmt::format("{}, padding {}", w.name, count_padding ? "counted" : "not counted");
      c.inputs = {{w.shape}};
      c.op = [&](Tape& tape, const std::vector<Tensor>& in) {
        return ops::average_pool3d(tape, in[0], w.window, count_padding);
      };
      check(c);
      const std::vector<double> x = test_values(w.shape.count(), Values::normal, 3);
      for (const Device device : devices()) {
        Tape tape;
        const Tensor input = Tensor::from(w.shape, std::span<const double>(x), DType::f64, device);
        const Tensor y = ops::average_pool3d(tape, input, w.window, count_padding);
        CHECK(distance(doubles(y), pool(x, w.shape, w.window, false, count_padding)) < 1e-14);
      }
    }
  }
}

TEST_CASE("pooling: among equals the first wins, and NaN wins over all", "[pooling][device]") {
  const Device device = GENERATE(from_range(devices()));
  Tape tape;
  Tensor x = Tensor::full({1, 2, 2, 2, 1}, 3, DType::f32, device);
  x.require_gradient();
  const Tensor y = ops::max_pool3d(tape, x, {});
  CHECK(y.item() == 3);
  tape.backward(ops::sum(tape, y));
  CHECK(doubles(gradient_of(x)) == std::vector<double>{1, 0, 0, 0, 0, 0, 0, 0});
  std::vector<double> values(8, 1.0);
  values[5] = NAN;
  const auto maximum = [&] {
    const Tensor input = Tensor::from({1, 2, 2, 2, 1}, std::span<const double>(values), DType::f64, device);
    return ops::max_pool3d(tape, input, {}).item();
  };
  CHECK(std::isnan(maximum()));
  values.assign(8, -INFINITY);
  CHECK(maximum() == -INFINITY);
}

TEST_CASE("pooling: windows that do not fit", "[pooling]") {
  Tape tape;
  const Tensor x = Tensor::full({1, 2, 3, 4, 1}, 0);
  CHECK_THAT(error_of([&] {
               ops::max_pool3d(tape, x, {{3, 1, 1}, {1, 1, 1}, {0, 0, 0}});
             }),
             Catch::Contains("does not fit extent 2"));
  CHECK_THAT(error_of([&] {
               ops::average_pool3d(tape, x, {{2, 2, 2}, {1, 1, 1}, {2, 0, 0}});
             }),
             Catch::Contains("padding 2"));
  CHECK_THAT(error_of([&] { ops::max_pool3d(tape, Tensor::full({2, 3}, 0), {}); }), Catch::Contains("2×3"));
  CHECK_THAT(error_of([&] {
               ops::max_pool3d(tape, Tensor::full({1, 9, 9, 9, 1}, 0), {{7, 7, 7}, {1, 1, 1}, {0, 0, 0}});
             }),
             Catch::Contains("256"));
}
