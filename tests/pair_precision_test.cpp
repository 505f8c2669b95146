// Pairing of points far from the origin, or close together: answers are those of the points as they came.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

#include "engine/npy.h"
#include "engine/ops/pairwise_cost.h"
#include "kernels/sizes.h"
#include "solvers/feature_precision.h"
#include "solvers/pairing.h"
#include "solvers/sinkhorn_loss.h"
#include "tests/command.h"
#include "tests/op_case.h"

using namespace voxot;
using namespace voxot::test;
using nlohmann::json;

namespace {

constexpr std::int64_t kPoints = 6;

/// Points of two coordinates: an offset and a spread.
std::vector<double> points(double x, double y, double spread, std::uint64_t seed) {
  Random random(seed, Purpose::test);
  std::vector<double> values;
  for (std::int64_t i = 0; i < kPoints; ++i) {
    values.push_back(x + spread * static_cast<double>(random.normal()));
    values.push_back(y + spread * static_cast<double>(random.normal()));
  }
  return values;
}

long double square(const std::vector<double>& a, const std::vector<double>& b, std::size_t i, std::size_t j) {
  const long double u = static_cast<long double>(a[2 * i]) - static_cast<long double>(b[2 * j]);
  const long double v = static_cast<long double>(a[2 * i + 1]) - static_cast<long double>(b[2 * j + 1]);
  return u * u + v * v;
}

/// 1 − cos, of small angles from the cross product: in two coordinates nothing cancels but what must.
long double cosine(const std::vector<double>& a, const std::vector<double>& b, std::size_t i, std::size_t j) {
  const auto at = [](const std::vector<double>& p, std::size_t k) { return static_cast<long double>(p[k]); };
  const long double dx = at(b, 2 * j) - at(a, 2 * i);
  const long double dy = at(b, 2 * j + 1) - at(a, 2 * i + 1);
  const long double cross = at(a, 2 * i) * dy - at(a, 2 * i + 1) * dx;
  const auto squared = [&](const std::vector<double>& p, std::size_t k) {
    return at(p, 2 * k) * at(p, 2 * k) + at(p, 2 * k + 1) * at(p, 2 * k + 1);
  };
  const long double lengths = squared(a, i) * squared(b, j);
  const long double dot = at(a, 2 * i) * at(b, 2 * j) + at(a, 2 * i + 1) * at(b, 2 * j + 1);
  if (dot <= 0) return 1 - dot / std::sqrt(lengths);
  const long double sine = cross * cross / lengths;
  return sine / (1 + std::sqrt(1 - sine));
}

/// The least mean over all 720 assignments.
template <class Cost>
double best(const Cost& cost) {
  std::vector<std::size_t> partner(kPoints);
  std::iota(partner.begin(), partner.end(), 0);
  long double least = 1e300L;
  do {
    long double sum = 0;
    for (std::size_t i = 0; i < partner.size(); ++i) sum += cost(i, partner[i]);
    least = std::min(least, sum / kPoints);
  } while (std::next_permutation(partner.begin(), partner.end()));
  return static_cast<double>(least);
}

void write_points(const fs::path& file, const std::vector<double>& values, bool wide) {
  write_npy(file, wide ? HostArray::from_doubles({kPoints, 2}, values)
                       : HostArray::from_floats({kPoints, 2}, {values.begin(), values.end()}));
}

json paired(const fs::path& folder, std::vector<std::string> more) {
  more.insert(more.begin(), {"pair", "--source", "a.npy", "--target", "b.npy", "--output", "plan.npz",
                             "--device", "cpu", "--json"});
  const Command command(folder, more);
  const int status = command.wait();
  INFO(command.err());
  REQUIRE(status == 0);
  return json::parse(command.out());
}

struct Case {
  const char* name;
  double x, y, spread;
  bool wide = true;
};

const Case kCases[] = {{"map coordinates", 5e5, 5.5e6, 0.05},
                       {"far away", 1e8, -1e8, 1},
                       {"close together", 0, 0, 1e-25},
                       {"close together in fp32", 0, 0, 1e-25, false},
                       {"far away in fp32", 1e8, -1e8, 1000, false},
                       {"very far apart in fp32", 0, 0, 1e25, false}};

}  // namespace

TEST_CASE("command: pair's certificate speaks of the costs of the input", "[command][pairing]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  for (const Case& c : kCases) {
    INFO(c.name);
    std::vector<double> a = points(c.x, c.y, c.spread, 1);
    std::vector<double> b = points(c.x, c.y, c.spread, 2);
    if (!c.wide) {
      for (auto* set : {&a, &b}) {
        for (double& v : *set) v = static_cast<double>(static_cast<float>(v));
      }
    }
    write_points(folder / "a.npy", a, c.wide);
    write_points(folder / "b.npy", b, c.wide);
    const double expected = best([&](std::size_t i, std::size_t j) { return square(a, b, i, j); });
    REQUIRE(expected > 0);
    const json exact = paired(folder, {"--method", "exact", "--cost", "square"});
    CHECK(exact.at("converged") == 1);
    CHECK(exact.at("primal").get<double>() == Approx(expected).epsilon(1e-9));
    CHECK(exact.at("dual").get<double>() == Approx(expected).epsilon(1e-9));
    CHECK(exact.at("cost").get<double>() == Approx(expected).epsilon(1e-9));
    const auto plan = read_npz(folder / "plan.npz");
    const std::vector<std::int64_t> partner = plan.at("partner").to_integers("partner");
    const std::vector<double> cost = plan.at("cost").to_doubles();
    for (std::size_t i = 0; i < kPoints; ++i)
      CHECK(cost[i] == Approx(static_cast<double>(square(a, b, i, to_size(partner[i])))).epsilon(1e-9));
    // With ε small beside the costs Sinkhorn's plan costs nearly as little, and its values bracket the best:
    // ε·KL ≤ ε·log 6 more.
    const json entropic = paired(folder, {"--cost", "square", "--relative", "--epsilon", "0.01"});
    const double epsilon = entropic.at("epsilon").get<double>();
    CHECK(entropic.at("exact_cost").get<double>() == Approx(expected).epsilon(1e-5));
    CHECK(entropic.at("dual").get<double>() <= expected + epsilon * std::log(6.0));
    CHECK(entropic.at("primal").get<double>() >= expected * (1 - 1e-5));
  }
}

TEST_CASE("command: pair's cosine is of the vectors from the origin, however far", "[command][pairing]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  for (const Case& c : kCases) {
    INFO(c.name);
    std::vector<double> a = points(c.x, c.y, c.spread, 3);
    std::vector<double> b = points(c.x, c.y, c.spread, 4);
    if (!c.wide) {
      for (auto* set : {&a, &b}) {
        for (double& v : *set) v = static_cast<double>(static_cast<float>(v));
      }
    }
    write_points(folder / "a.npy", a, c.wide);
    write_points(folder / "b.npy", b, c.wide);
    const double expected = best([&](std::size_t i, std::size_t j) { return cosine(a, b, i, j); });
    const json exact = paired(folder, {"--method", "exact", "--cost", "cosine"});
    // Differences of 1e-8 of the length keep eight digits beyond which the vectors themselves are rounded.
    CHECK(exact.at("primal").get<double>() == Approx(expected).epsilon(1e-6));
    const json entropic = paired(folder, {"--cost", "cosine", "--relative", "--epsilon", "0.05"});
    CHECK(entropic.at("exact_cost").get<double>() == Approx(expected).epsilon(1e-6));
  }
}

TEST_CASE("command: pair says when fp32 was asked for and rounds the features", "[command][pairing]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  write_points(folder / "a.npy", points(5e5, 5.5e6, 0.05, 1), true);
  write_points(folder / "b.npy", points(5e5, 5.5e6, 0.05, 2), true);
  const std::vector<std::string> call{"pair",     "--source", "a.npy",      "--target", "b.npy",
                                      "--output", "p.npz",    "--relative", "--cost",   "square"};
  const Command silent(folder, call);
  CHECK(silent.wait() == 0);
  CHECK(silent.err().empty());
  std::vector<std::string> rounded = call;
  rounded.insert(rounded.end(), {"--precision", "fp32"});
  const Command told(folder, rounded);
  CHECK(told.wait() == 0);
  CHECK(told.err().find("rounds the features") != std::string::npos);
  // The common origin goes off first: what is rounded is a part in 1e7 of the spread, not of the offset.
  const double wide = read_npz(folder / "p.npz").at("primal").to_doubles()[0];
  REQUIRE(Command(folder, call).wait() == 0);
  CHECK(read_npz(folder / "p.npz").at("primal").to_doubles()[0] == Approx(wide).epsilon(1e-5));
}

TEST_CASE("feature precision: fp32 stands for fp64 where nothing is lost", "[pairing]") {
  const auto wide = [](const std::vector<double>& values) {
    return Tensor::from({std::ssize(values) / 2, 2}, std::span<const double>(values));
  };
  // Centimetres of map coordinates: no fp32 numbers, their differences are.
  const Tensor a = wide({50000012, 550000041, 50000017, 550000001});
  const Tensor b = wide({50000112, 550000091, 50000000, 550000002});
  const Fp32Features narrow = fp32_features(a, b, true);
  CHECK(narrow.exact);
  CHECK(narrow.source.as<float>()[2] == 5);
  CHECK(narrow.target.as<float>()[1] == 50);
  CHECK_FALSE(fp32_features(a, b, false).exact);
  CHECK_FALSE(fp32_features(wide({0, 0.1}), wide({0.2, 0.3}), true).exact);
  CHECK_FALSE(fp32_features(wide({1e16, 0}), wide({1, 0}), true).exact);
  const auto squares = [](double spread) {
    const float s = static_cast<float>(spread);
    const std::vector<float> x{0, s, 2 * s, -s};
    const Tensor t = Tensor::from({2, 2}, std::span<const float>(x));
    return fp32_squares(t, t);
  };
  CHECK(squares(1));
  CHECK(squares(1e-12));
  CHECK(squares(0));
  CHECK_FALSE(squares(1e-25));
  CHECK_FALSE(squares(1e20));
}

TEST_CASE("costs that underflow are refused, not called 0", "[pairing][pairwise_cost][device]") {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      const double spread = dtype == DType::f32 ? 1e-25 : 1e-165;
      for (const std::int64_t d : {2, 20}) {
        INFO(name_of(dtype) << " on " << name_of(device) << ", dimension " << d);
        const auto near = [&](std::uint64_t seed) {
          return Tensor::normal({5, d}, {seed, Purpose::test, 0}, 0, 1, DType::f64);
        };
        const auto scaled = [&](const Tensor& t) {
          const Tensor small = t.clone();
          for (std::int64_t i = 0; i < t.count(); ++i) small.as<double>()[i] *= spread;
          return small.to(dtype).to(device);
        };
        const Tensor x = scaled(near(1));
        const Tensor y = scaled(near(2));
        const auto underflows = Catch::Contains(fmt::format("underflow {}", name_of(dtype)));
        const GroundCost square = GroundCost::squared_euclidean;
        CHECK_THROWS_WITH(sinkhorn(x, y, square), underflows);
        CHECK_THROWS_WITH(sinkhorn_streamed(x, y, square), underflows);
        Tape tape;
        CHECK_THROWS_WITH(sinkhorn_divergence(tape, x, y, square, {}), underflows);
        PairingOptions o;
        o.cost = square;
        CHECK_THROWS_WITH(pair(x, y, o), underflows);
        o.plan = PairingPlan::exact;  // whose costs are fp64
        if (dtype == DType::f64) {
          CHECK_THROWS_WITH(pair(x, y, o), underflows);
        } else {
          CHECK(pair(x, y, o).primal > 0);
        }
        // One point many times has costs of 0, rightly.
        const Tensor same = Tensor::full({5, d}, spread, dtype, device);
        CHECK(sinkhorn(same, same, square)[0].transport_cost == 0);
      }
    }
  }
}

TEST_CASE("pairing: exact partners of fp32 features are those of the features", "[pairing][device]") {
  // Pairs that fp32 costs, of products or differences alike, cannot tell apart: 2^-12 beside 1, squared.
  const std::vector<float> x{1, 0, -1, 0};
  const float step = 0x1p-13F;
  const std::vector<float> y{1, step, -1, 2 * step};
  for (const Device device : devices()) {
    const auto on = [&](const std::vector<float>& values) {
      return Tensor::from({2, 2}, std::span<const float>(values), DType::f32, device);
    };
    PairingOptions o;
    o.plan = PairingPlan::exact;
    o.cost = GroundCost::squared_euclidean;
    o.keep_plan = true;
    const Pairing p = pair(on(x), on(y), o);
    const double expected = 0.5 * (0x1p-26 + 0x1p-24);
    CHECK(p.primal == expected);
    CHECK(p.dual == Approx(expected).epsilon(1e-12));
    CHECK(p.plan.dtype() == DType::f32);
    CHECK(p.f[0] + p.g[1] <= 4 + 0x1p-24);
    const Buffer<std::uint64_t> draw = Buffer<std::uint64_t>::from(std::vector<std::uint64_t>{0}, device);
    const QueuedPairing queued = queue_pairing(on(x), on(y), o, draw.data());
    CHECK(queued.cost.dtype() == DType::f64);
    CHECK(queued.partner.to_host() == std::vector<std::int32_t>{0, 1});
  }
}

TEST_CASE("pairwise cost: cosine of small, large and nearly parallel vectors", "[pairwise_cost]") {
  const auto value = [](const std::vector<double>& x, const std::vector<double>& y, DType dtype) {
    Tape tape;
    const auto d = std::ssize(x);
    const Tensor cost =
        ops::pairwise_cost(tape, Tensor::from({1, d}, std::span<const double>(x), dtype),
                           Tensor::from({1, d}, std::span<const double>(y), dtype), GroundCost::cosine);
    return doubles(cost)[0];
  };
  // 60°, of lengths whose squares fp32 does not hold.
  CHECK(value({1e-25, 0}, {1e-25, 1.7320508e-25}, DType::f32) == Approx(0.5).epsilon(1e-6));
  CHECK(value({1e25, 0}, {1e25, 1.7320508e25}, DType::f32) == Approx(0.5).epsilon(1e-6));
  CHECK(value({1e-25, 0}, {0, 1e30}, DType::f32) == 1);
  CHECK(value({0, 0}, {0, 1e30}, DType::f32) == 1);
  // Angles of 8/1e8 in fp32 and 0.05/5e6 in fp64, between vectors of unlike lengths too.
  CHECK(value({1e8, 0}, {1e8, 8}, DType::f32) == Approx(0.5 * 64e-16).epsilon(1e-6));
  CHECK(value({5e6, 0.05}, {5e6, 0}, DType::f64) == Approx(0.5e-16).epsilon(1e-12));
  CHECK(value({5e6, 5}, {1e6, 0}, DType::f64) == Approx(0.5e-12).epsilon(1e-9));
  CHECK(value({3, 4}, {3, 4}, DType::f64) == 0);
  CHECK(std::isnan(value({1e-120, 0}, {1, 0}, DType::f64)));
}
