// Elementwise arithmetic, casts, fills and random numbers.
#include "engine/ops/elementwise.h"

#include <bit>

#include "kernels/elementwise.h"
#include "kernels/sizes.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

using Inputs = std::vector<Tensor>;

constexpr RandomState kState{7, Purpose::test, 3};

/// Runs body(dtype, count, offset): lengths about whole vectors and blocks, and every offset from 16 bytes.
template <class Body>
void each_placement(Body body) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    for (const std::int64_t count : {1, 7, 8, 33, 2053}) {
      for (std::int64_t offset = 0; offset < 4; ++offset) {
        INFO(name_of(dtype) << ", " << count << " elements, " << offset << " off");
        body(dtype, count, offset);
      }
    }
  }
}

/// `values` on a device, `offset` elements off a vector's start, between guards.
struct Placed {
  Placed(const std::vector<double>& values, DType dtype, std::int64_t offset, Device device)
      : inside({std::ssize(values)}, values, dtype, kSentinel, device, offset) {}
  [[nodiscard]] std::vector<double> read() const { return doubles(inside); }
  Guarded inside;
};

}  // namespace

TEST_CASE("elementwise: arithmetic", "[elementwise][device]") {
  const Shape odd{2, 3, 1, 5, 3};
  const Shape large{3, 3001};  // beyond the size from which threads share the work
  const std::pair<const char*, OpCase> cases[] = {
      {"add", {"", {{odd}, {odd}}, [](Tape& t, const Inputs& in) { return ops::add(t, in[0], in[1]); }}},
      {"sub", {"", {{odd}, {odd}}, [](Tape& t, const Inputs& in) { return ops::sub(t, in[0], in[1]); }}},
      {"large",
       {"", {{large}, {large}}, [](Tape& t, const Inputs& in) { return ops::sub(t, in[0], in[1]); }}},
      {"combination",
       {"",
        {{odd}, {odd}},
        [](Tape& t, const Inputs& in) { return ops::linear_combination(t, 0.5, in[0], -2, in[1]); }}},
      {"scale_add",
       {"", {{odd}, {odd}}, [](Tape& t, const Inputs& in) { return ops::scale_add(t, in[0], 0.1, in[1]); }}},
      {"scale", {"", {{odd}}, [](Tape& t, const Inputs& in) { return ops::scale(t, in[0], -0.75); }}},
      {"x + x", {"", {{odd}}, [](Tape& t, const Inputs& in) { return ops::add(t, in[0], in[0]); }}},
      {"mul", {"", {{odd}, {odd}}, [](Tape& t, const Inputs& in) { return ops::mul(t, in[0], in[1]); }}},
      {"x·x", {"", {{odd}}, [](Tape& t, const Inputs& in) { return ops::mul(t, in[0], in[0]); }}},
      {"large mul",
       {"", {{large}, {large}}, [](Tape& t, const Inputs& in) { return ops::mul(t, in[0], in[1]); }}},
      {"repeat", {"", {{odd}}, [](Tape& t, const Inputs& in) { return ops::repeat(t, in[0], 3); }}},
      {"broadcast_add",
       {"",
        {{{3, 2, 1, 5, 3}}, {{3, 3}}},
        [](Tape& t, const Inputs& in) { return ops::broadcast_add(t, in[0], in[1]); }}},
      {"broadcast_add, whole vectors",
       {"",
        {{{2, 7, 16}}, {{2, 16}}},
        [](Tape& t, const Inputs& in) { return ops::broadcast_add(t, in[0], in[1]); }}},
      {"broadcast_add, no rows",
       {"",
        {{{4, 5}}, {{4, 5}}},
        [](Tape& t, const Inputs& in) { return ops::broadcast_add(t, in[0], in[1]); }}},
      {"large broadcast_add",
       {"",
        {{{2, 3, 501, 3}}, {{2, 3}}},
        [](Tape& t, const Inputs& in) { return ops::broadcast_add(t, in[0], in[1]); }}},
      {"repeat once", {"", {{{1, 4}}}, [](Tape& t, const Inputs& in) { return ops::repeat(t, in[0], 1); }}},
      {"reshape",
       {"",
        {{odd}},
        [](Tape& t, const Inputs& in) {
          return ops::reshape(t, in[0], {6, 15});
        }}},
  };
  for (const auto& [name, c] : cases) {
    INFO(name);
    check(c);
  }
}

TEST_CASE("elementwise: repeat goes copy by copy", "[elementwise][device]") {
  for (const Device device : devices()) {
    Tape tape;
    const Tensor x =
        Tensor::from({2, 1}, std::span<const double>(std::vector<double>{1, 2}), DType::f64, device);
    const Tensor y = ops::repeat(tape, x, 3);
    CHECK(y.shape() == Shape{6, 1});
    CHECK(doubles(y) == std::vector<double>{1, 2, 1, 2, 1, 2});
  }
}

TEST_CASE("elementwise: what does not fit", "[elementwise]") {
  Tape tape;
  const Tensor x = Tensor::full({2, 3}, 1);
  CHECK_THAT(error_of([&] {
               ops::add(tape, x, Tensor::full({3, 2}, 1));
             }),
             Catch::Contains("2×3 fp32 with 3×2 fp32"));
  CHECK_THAT(error_of([&] { ops::mul(tape, x, x.to(DType::f64)); }), Catch::Contains("fp64"));
  CHECK_THAT(error_of([&] { ops::reshape(tape, x, {7}); }), Catch::Contains("2×3 to 7"));
  CHECK_THAT(error_of([&] { ops::repeat(tape, x, 0); }), Catch::Contains("0 times"));
  CHECK_THAT(error_of([&] {
               ops::broadcast_add(tape, Tensor::full({2, 4, 3}, 1), Tensor::full({3, 2}, 1));
             }),
             Catch::Contains("3×2 fp32 on cpu to 2×4×3 fp32"));
}

TEST_CASE("elementwise: a cast brings the gradient back in the input's type", "[elementwise][device]") {
  const Device device = GENERATE(from_range(devices()));
  for (const DType from : {DType::f32, DType::f64}) {
    INFO(name_of(from) << " on " << name_of(device));
    Tape tape;
    const std::vector<double> values = test_values(37, Values::normal, 1);
    Tensor x = Tensor::from({37}, std::span<const double>(values), from, device);
    x.require_gradient();
    const Tensor y = ops::cast(tape, x, DType::bf16);
    CHECK(y.dtype() == DType::bf16);
    CHECK(doubles(y) == values);  // exact in bf16
    const Tensor r =
        Tensor::from({37}, std::span<const double>(test_values(37, Values::normal, 2)), DType::bf16, device);
    // Used twice, so the second contribution is added in the wider type.
    tape.backward(ops::sum(tape, ops::add(tape, ops::mul(tape, y, r), ops::cast(tape, x, DType::bf16))));
    const Tensor gradient = gradient_of(x);
    REQUIRE(gradient.defined());
    CHECK(gradient.dtype() == from);
    std::vector<double> expected = doubles(r);
    for (double& v : expected) v += 1;
    CHECK(distance(doubles(gradient), expected) < 1e-7);
  }
}

TEST_CASE("elementwise: bf16 rounds to nearest, ties to even, and keeps what is not finite",
          "[elementwise][device]") {
  const Device device = GENERATE(from_range(devices()));
  const auto rounded = [device](float v) {
    const Tensor wide = Tensor::from({1}, std::span<const float>(&v, 1), DType::f32, device);
    const Tensor t = wide.to(DType::bf16).to(Device::cpu);
    return *t.as<std::uint16_t>();
  };
  CHECK(rounded(1.0F) == 0x3F80);
  CHECK(rounded(std::bit_cast<float>(0x3F808000U)) == 0x3F80);  // a tie, down to even
  CHECK(rounded(std::bit_cast<float>(0x3F818000U)) == 0x3F82);  // a tie, up to even
  CHECK(rounded(std::bit_cast<float>(0x3F808001U)) == 0x3F81);
  CHECK(rounded(std::bit_cast<float>(0x3F807FFFU)) == 0x3F80);
  CHECK(rounded(-0.0F) == 0x8000);
  CHECK(rounded(INFINITY) == 0x7F80);
  CHECK(rounded(3.4e38F) == 0x7F80);  // beyond the largest
  const std::uint16_t nan = rounded(std::bit_cast<float>(0x7F800001U));
  CHECK((nan & 0x7F80) == 0x7F80);
  CHECK((nan & 0x7F) != 0);
}

TEST_CASE("elementwise: any length at any alignment", "[elementwise][device]") {
  const Device device = GENERATE(from_range(devices()));
  INFO(name_of(device));
  const Stream stream = kernels::stream_of(device);
  each_placement([&](DType dtype, std::int64_t count, std::int64_t offset) {
    // Halves up to 8: sums and products are exact in bf16.
    std::vector<double> a(to_size(count));
    std::vector<double> b(a.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      a[i] = static_cast<double>(i % 17) / 2 - 4;
      b[i] = static_cast<double>(i % 5) - 2;
    }
    const auto expect = [&](const Placed& got, auto expected) {
      const std::vector<double> values = got.read();
      std::int64_t wrong = 0;
      for (std::size_t i = 0; i < values.size(); ++i) wrong += values[i] == expected(a[i], b[i]) ? 0 : 1;
      CHECK(wrong == 0);
    };
    const Placed x(a, dtype, offset, device);
    const Placed other(b, dtype, 0, device);  // the two may be off differently
    const auto target = [&] { return Placed(b, dtype, offset, device); };
    {
      const Placed y = target();
      kernels::fill(stream, dtype, count, 2.5, y.inside.data());
      expect(y, [](double, double) { return 2.5; });
    }
    {
      const Placed y = target();
      kernels::axpby(stream, dtype,
                     {.count = count, .a = 2, .x = x.inside.data(), .b = -1, .y = y.inside.data()});
      expect(y, [](double u, double v) { return 2 * u - v; });
    }
    {
      const Placed y = target();
      kernels::linear_combination(stream, dtype,
                                  {.count = count,
                                   .a = 1,
                                   .x = x.inside.data(),
                                   .b = 0.5,
                                   .y = other.inside.data(),
                                   .z = y.inside.data()});
      expect(y, [](double u, double v) { return u + 0.5 * v; });
    }
    {
      const Placed y = target();
      kernels::multiply(stream, dtype,
                        {.count = count,
                         .x = x.inside.data(),
                         .y = other.inside.data(),
                         .z = y.inside.data(),
                         .write = Write::accumulate});
      expect(y, [](double u, double v) { return v + u * v; });
    }
    for (const DType to : {DType::f32, DType::bf16, DType::f64}) {
      const Placed y(b, to, offset, device);
      kernels::cast(stream, {.count = count,
                             .from = dtype,
                             .x = x.inside.data(),
                             .to = to,
                             .y = y.inside.data(),
                             .write = Write::accumulate});
      expect(y, [](double u, double v) { return u + v; });
    }
  });
}

TEST_CASE("elementwise: a bias for each channel", "[elementwise][device]") {
  const Device device = GENERATE(from_range(devices()));
  INFO(name_of(device));
  for (const DType dtype : {DType::f32, DType::bf16, DType::f64}) {
    for (const std::int64_t channels : {1, 3, 8, 20}) {
      for (const std::int64_t offset : {0, 1}) {
        const std::int64_t rows = 53;
        std::vector<double> b(to_size(channels));
        for (std::size_t c = 0; c < b.size(); ++c) b[c] = static_cast<double>(c) - 1.5;
        const Placed bias(b, dtype == DType::f64 ? DType::f64 : DType::f32, 0, device);
        const Placed y(std::vector<double>(to_size(rows * channels), 0.5), dtype, offset, device);
        kernels::add_bias(kernels::stream_of(device), dtype, rows, channels, bias.inside.data(),
                          y.inside.data());
        const std::vector<double> got = y.read();
        std::int64_t wrong = 0;
        for (std::size_t i = 0; i < got.size(); ++i) wrong += got[i] == 0.5 + b[i % b.size()] ? 0 : 1;
        INFO(name_of(dtype) << ", " << channels << " channels, " << offset << " off");
        CHECK(wrong == 0);
      }
    }
  }
}

TEST_CASE("elementwise: random fills are the same on every device", "[elementwise][random][device]") {
  const Device device = GENERATE(from_range(devices()));
  INFO(name_of(device));
  each_placement([&](DType dtype, std::int64_t count, std::int64_t offset) {
    const std::vector<double> zeros(to_size(count));
    const Placed here(zeros, dtype, offset, device);
    const Placed reference(zeros, dtype, 0, Device::cpu);
    const Stream stream = kernels::stream_of(device);
    kernels::fill_uniform(stream, dtype,
                          {.count = count, .state = kState, .low = -2, .high = 3, .y = here.inside.data()});
    kernels::fill_uniform(
        {}, dtype, {.count = count, .state = kState, .low = -2, .high = 3, .y = reference.inside.data()});
    CHECK(here.read() == reference.read());
    kernels::fill_normal(
        stream, dtype,
        {.count = count, .state = kState, .mean = 0.5, .deviation = 2, .y = here.inside.data()});
    kernels::fill_normal(
        {}, dtype,
        {.count = count, .state = kState, .mean = 0.5, .deviation = 2, .y = reference.inside.data()});
    // Logarithm and cosine may differ in the last bits, and bf16 then rounds to a neighbour.
    CHECK(distance(here.read(), reference.read()) < (dtype == DType::bf16 ? 2e-3 : 1e-6));
  });
}

TEST_CASE("elementwise: normal numbers have the moments of their distribution", "[elementwise][random]") {
  const std::int64_t n = 1 << 20;
  const std::vector<double> x = doubles(Tensor::normal({n}, kState, 0.5, 2));
  double sums[5] = {};
  for (const double v : x) {
    const double z = (v - 0.5) / 2;
    double power = 1;
    for (double& s : sums) {
      s += power / static_cast<double>(n);
      power *= z;
    }
  }
  // Five standard errors: √(Var zᵏ/n) with Var = 1, 2, 15, 96.
  const double root = 5 / std::sqrt(static_cast<double>(n));
  CHECK(std::abs(sums[1]) < root);
  CHECK(std::abs(sums[2] - 1) < root * std::sqrt(2.0));
  CHECK(std::abs(sums[3]) < root * std::sqrt(15.0));
  CHECK(std::abs(sums[4] - 3) < root * std::sqrt(96.0));
  // Neighbours (the two numbers of one Box–Muller pair, and across pairs) are uncorrelated.
  for (const std::size_t lag : {1, 2, 4}) {
    double correlation = 0;
    for (std::size_t i = 0; i + lag < x.size(); ++i) correlation += (x[i] - 0.5) * (x[i + lag] - 0.5) / 4;
    CHECK(std::abs(correlation) / static_cast<double>(n) < root);
  }
  const auto below = std::count_if(x.begin(), x.end(), [](double v) { return v < 0.5 - 2 * 1.6448536; });
  CHECK(std::abs(static_cast<double>(below) / static_cast<double>(n) - 0.05) < root * std::sqrt(0.05 * 0.95));
}

TEST_CASE("elementwise: random numbers are a pure function of state and index", "[elementwise][random]") {
  const std::vector<float> once = Tensor::normal({10007}, kState, 0, 1).to_floats();
  CHECK(Tensor::normal({10007}, kState, 0, 1).to_floats() == once);
  // A shorter draw is the beginning of a longer one, whatever the shape.
  const std::vector<float> shorter = Tensor::normal({3, 5}, kState, 0, 1).to_floats();
  CHECK(std::equal(shorter.begin(), shorter.end(), once.begin()));
  const auto first = normal_from(kState.block(0)[0], kState.block(0)[1]);
  CHECK(once[0] == Approx(first[0]).epsilon(1e-6));
  CHECK(once[1] == Approx(first[1]).epsilon(1e-6));
  for (const RandomState& other :
       {RandomState{8, Purpose::test, 3}, RandomState{7, Purpose::noise, 3}, RandomState{7, Purpose::test, 4},
        RandomState{7, Purpose::test, 3 + (1ULL << 32)}}) {
    const std::vector<float> different = Tensor::normal({10007}, other, 0, 1).to_floats();
    std::int64_t alike = 0;
    for (std::size_t i = 0; i < once.size(); ++i) alike += once[i] == different[i] ? 1 : 0;
    CHECK(alike < 10);
  }
  // The same numbers in other types.
  CHECK(distance(doubles(Tensor::normal({999}, kState, 0, 1, DType::f64)),
                 std::vector<double>(once.begin(), once.begin() + 999)) < 1e-6);
}

TEST_CASE("elementwise: uniform numbers fill their interval", "[elementwise][random]") {
  const std::int64_t n = 1 << 18;
  const Tensor x = Tensor::empty({n});
  kernels::fill_uniform(x.stream(), x.dtype(),
                        {.count = n, .state = kState, .low = -2, .high = 3, .y = x.data()});
  const std::vector<double> values = doubles(x);
  std::vector<std::int64_t> bins(50);
  for (const double v : values) {
    REQUIRE(v >= -2);
    REQUIRE(v <= 3);
    ++bins[std::min<std::size_t>(49, static_cast<std::size_t>((v + 2) * 10))];
  }
  double chi = 0;
  const double expected = static_cast<double>(n) / 50;
  for (const std::int64_t b : bins)
    chi += (static_cast<double>(b) - expected) * (static_cast<double>(b) - expected) / expected;
  CHECK(chi < 49 + 5 * std::sqrt(2 * 49.0));  // χ² with 49 degrees of freedom: mean 49, deviation √98
}
