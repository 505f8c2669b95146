// Cost matrices from features: values, gradients, duplicates, and POT's and scipy's answers.
#include "engine/ops/pairwise_cost.h"

#include "kernels/sizes.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

const std::pair<const char*, GroundCost> kKinds[] = {
    {"squared", GroundCost::squared_euclidean},
    {"half", GroundCost::half_squared_per_dimension},
    {"cosine", GroundCost::cosine},
};

Tensor cost_of(const Tensor& x, const Tensor& y, GroundCost kind) {
  Tape tape;
  return ops::pairwise_cost(tape, x, y, kind);
}

double plain_cost(std::span<const double> x, std::span<const double> y, GroundCost kind) {
  double square = 0;
  double dot = 0;
  for (std::size_t k = 0; k < x.size(); ++k) {
    square += (x[k] - y[k]) * (x[k] - y[k]);
    dot += x[k] * y[k];
  }
  if (kind == GroundCost::squared_euclidean) return square;
  if (kind == GroundCost::half_squared_per_dimension) return square / 2 / static_cast<double>(x.size());
  return 1 - dot / norm(x) / norm(y);
}

}  // namespace

TEST_CASE("pairwise cost: values and gradients", "[pairwise_cost][device]") {
  // Three dimensions take differences, more a product; 1030 are two panels, 131 rows two tiles.
  const std::pair<Shape, Shape> shapes[] = {{{5, 3}, {7, 3}},       {{1, 1}, {2, 1}},
                                            {{4, 19}, {6, 19}},     {{2, 3, 12}, {2, 5, 12}},
                                            {{3, 1030}, {2, 1030}}, {{131, 10}, {3, 10}}};
  for (const auto& [name, kind] : kKinds) {
    for (const auto& [x, y] : shapes) {
      // In one dimension a cosine is 0 or 2, and its gradient 0.
      if (kind == GroundCost::cosine && x.back() == 1) continue;
      OpCase c;
      c.name = fmt::format("{} of {} and {}", name, x.text(), y.text());
      c.inputs = {{x}, {y}};
      c.op = [kind = kind](Tape& tape, const std::vector<Tensor>& in) {
        return ops::pairwise_cost(tape, in[0], in[1], kind);
      };
      c.bf16 = false;
      // Panels are the CPU's; hundreds of differences of a thousand dimensions take the emulation minutes.
      if (x.back() > 100) {
        check(c, Device::cpu);
      } else {
        check(c);
      }
    }
  }
}

TEST_CASE("pairwise cost: against plain loops, far from the origin", "[pairwise_cost][device]") {
  for (const auto& [name, kind] : kKinds) {
    for (const std::int64_t d : {2, 9, 1500}) {
      // An offset as large as the spread times a hundred: the product alone would lose four more digits. The
      // cosine's origin is fixed.
      const double offset = kind == GroundCost::cosine ? 0 : 100;
      std::vector<double> x = test_values(21 * d, Values::normal, 5);
      std::vector<double> y = test_values(13 * d, Values::normal, 6);
      for (double& v : x) v += offset;
      for (double& v : y) v += offset;
      std::vector<double> expected;
      for (std::int64_t i = 0; i < 21; ++i) {
        for (std::int64_t j = 0; j < 13; ++j) {
          expected.push_back(plain_cost(std::span(x).subspan(to_size(i * d), to_size(d)),
                                        std::span(y).subspan(to_size(j * d), to_size(d)), kind));
        }
      }
      for (const Device device : devices()) {
        for (const DType dtype : {DType::f32, DType::f64}) {
          const Tensor cost =
              cost_of(Tensor::from({21, d}, std::span<const double>(x), dtype).to(device),
                      Tensor::from({13, d}, std::span<const double>(y), dtype).to(device), kind);
          INFO(name << ", dimension " << d << ", " << name_of(dtype) << " on " << name_of(device));
          CHECK(distance(doubles(cost), expected) < (dtype == DType::f64 ? 1e-13 : 2e-6));
        }
      }
    }
  }
}

TEST_CASE("pairwise cost: duplicates, neighbours, zero vectors", "[pairwise_cost][device]") {
  for (const auto& [name, kind] : kKinds) {
    for (const std::int64_t d : {4, 3000}) {
      INFO(name << ", dimension " << d);
      const Tensor x = Tensor::normal({6, d}, {3, Purpose::test, 0}, 5, 1);
      const std::vector<double> own = doubles(cost_of(x, x, kind));
      // Unit vectors are scaled by fused multiply-subtracts: a rounding, squared.
      for (std::size_t i = 0; i < 6; ++i) CHECK(own[i * 7] <= (kind == GroundCost::cosine ? 1e-13 : 0));
      // A neighbour at 1e-4 of the spread: the fp32 product would be all rounding.
      const Tensor y = x.clone();
      for (std::int64_t k = 0; k < y.count(); ++k) y.as<float>()[k] += (k % 2 == 0 ? 1e-4F : -1e-4F);
      const std::vector<double> xs = doubles(x);
      const std::vector<double> ys = doubles(y);
      const std::vector<double> near = doubles(cost_of(x, y, kind));
      const auto width = to_size(d);
      for (std::size_t i = 0; i < 6; ++i) {
        const double expected = plain_cost(std::span(xs).subspan(i * width, width),
                                           std::span(ys).subspan(i * width, width), kind);
        // The unit vectors of a cosine are rounded to fp32, 6e-8 beside a distance of some 2e-5 between them.
        // Else 3000 like terms in fp32, one after another where nothing is vectorised: 3000·6e-8.
        CHECK(near[i * 7] == Approx(expected).epsilon(kind == GroundCost::cosine ? 2e-2 : 2e-4));
      }
    }
  }
  for (const Device device : devices()) {
    const Tensor zero = Tensor::full({1, 20}, 0, DType::f32, device);
    const Tensor one = Tensor::full({1, 20}, 1, DType::f32, device);
    CHECK(cost_of(zero, one, GroundCost::cosine).item() == 1);
    CHECK(cost_of(zero, zero, GroundCost::cosine).item() == 1);
    CHECK(cost_of(zero, zero, GroundCost::squared_euclidean).item() == 0);
  }
}

TEST_CASE("pairwise cost: dimensions in which one set agrees", "[pairwise_cost]") {
  // Empty borders: alone in x, alone in y, in both to the same value and to two, over whole blocks of lanes
  // and within one; sizes of several tiles, odd ones, and one point.
  for (const auto& [n, m] : {std::pair<std::int64_t, std::int64_t>{21, 13}, {150, 270}, {1, 40}, {40, 1}}) {
    const std::int64_t d = 300;
    std::vector<double> x = test_values(n * d, Values::normal, 7);
    std::vector<double> y = test_values(m * d, Values::normal, 8);
    const auto still = [&](std::vector<double>& points, std::int64_t from, std::int64_t to, double value) {
      for (std::size_t i = 0; i < points.size(); ++i) {
        const auto k = static_cast<std::int64_t>(i) % d;
        if (k >= from && k < to) points[i] = value;
      }
    };
    still(x, 0, 70, -1);
    still(y, 33, 100, -1);
    still(x, 140, 150, 2);
    still(y, 145, 149, -3);
    std::vector<double> expected;
    for (std::size_t i = 0; i < to_size(n); ++i) {
      for (std::size_t j = 0; j < to_size(m); ++j) {
        expected.push_back(plain_cost(std::span(x).subspan(i * 300, 300), std::span(y).subspan(j * 300, 300),
                                      GroundCost::squared_euclidean));
      }
    }
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensor cost =
          cost_of(Tensor::from({n, d}, std::span<const double>(x), dtype),
                  Tensor::from({m, d}, std::span<const double>(y), dtype), GroundCost::squared_euclidean);
      INFO(n << " by " << m << " in " << name_of(dtype));
      CHECK(distance(doubles(cost), expected) < (dtype == DType::f64 ? 1e-14 : 1e-6));
    }
  }
}

TEST_CASE("pairwise cost: a set with itself is symmetric to the bit", "[pairwise_cost][device]") {
  for (const Device device : devices()) {
    for (const std::int64_t d : {3, 40}) {
      const std::int64_t n = device == Device::cpu ? 300 : 70;  // several tiles
      const Tensor x = Tensor::normal({n, d}, {4, Purpose::test, 0}, 1, 1, DType::f32, device);
      for (const auto& [name, kind] : kKinds) {
        const std::vector<double> cost = doubles(cost_of(x, x, kind));
        bool symmetric = true;
        for (std::int64_t i = 0; i < n; ++i) {
          for (std::int64_t j = 0; j < i; ++j) {
            symmetric = symmetric && cost[to_size(i * n + j)] == cost[to_size(j * n + i)];
          }
        }
        INFO(name << ", dimension " << d << " on " << name_of(device));
        CHECK(symmetric);
      }
    }
  }
}

TEST_CASE("pairwise cost: a batch is its problems, bit for bit", "[pairwise_cost]") {
  const Tensor x = Tensor::normal({5, 40, 70}, {1, Purpose::test, 0}, 0, 1);
  const Tensor y = Tensor::normal({5, 33, 70}, {1, Purpose::test, 1}, 0, 1);
  for (const auto& [name, kind] : kKinds) {
    const Tensor all = cost_of(x, y, kind);
    for (std::int64_t b = 0; b < 5; ++b) {
      const Tensor one = cost_of(x.window(b * 40 * 70, {40, 70}), y.window(b * 33 * 70, {33, 70}), kind);
      CHECK(doubles(one) == doubles(all.window(b * 40 * 33, {40, 33})));
    }
  }
}

TEST_CASE("goldens: pairwise costs", "[goldens][pairwise_cost]") {
  const Golden g("sinkhorn");
  for (const DType dtype : {DType::f64, DType::f32}) {
    const Tensor x = g.plain("costs.x", dtype);
    const Tensor y = g.plain("costs.y", dtype);
    for (const auto& [name, kind] : kKinds) {
      CHECK(distance(doubles(cost_of(x, y, kind)), g.values(std::string("costs.") + name)) < 1e-6);
    }
  }
}

TEST_CASE("pairwise cost: refuses what does not fit", "[pairwise_cost]") {
  const auto message = [](const Shape& x, const Shape& y, DType dtype = DType::f32) {
    return error_of([&] { cost_of(Tensor::full(x, 1, dtype), Tensor::full(y, 1), GroundCost::cosine); });
  };
  CHECK_THAT(message({3, 4}, {5, 6}), Catch::Contains("features 3×4 fp32 on cpu with 5×6"));
  CHECK_THAT(message({2, 3, 4}, {3, 5, 4}), Catch::Contains("pairwise_cost: features"));
  CHECK_THAT(message({3, 4}, {5, 4}, DType::f64), Catch::Contains("fp64"));
  CHECK_THAT(message({3}, {5}), Catch::Contains("expected n×D"));
  CHECK_THAT(message({0, 4}, {5, 4}), Catch::Contains("none may be empty"));
}
