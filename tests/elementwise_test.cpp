// Elementwise arithmetic, casts, fills and random numbers.
#include "engine/ops/elementwise.h"

#include <bit>

#include "kernels/elementwise.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

using Inputs = std::vector<Tensor>;

constexpr RandomState kState{7, Purpose::test, 3};

}  // namespace

TEST_CASE("elementwise: arithmetic", "[elementwise]") {
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

TEST_CASE("elementwise: repeat goes copy by copy", "[elementwise]") {
  Tape tape;
  const Tensor x = Tensor::from({2, 1}, std::span<const double>(std::vector<double>{1, 2}));
  const Tensor y = ops::repeat(tape, x, 3);
  CHECK(y.shape() == Shape{6, 1});
  CHECK(doubles(y) == std::vector<double>{1, 2, 1, 2, 1, 2});
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
}

TEST_CASE("elementwise: a cast brings the gradient back in the input's type", "[elementwise]") {
  for (const DType from : {DType::f32, DType::f64}) {
    Tape tape;
    const std::vector<double> values = test_values(37, Values::normal, 1);
    Tensor x = Tensor::from({37}, std::span<const double>(values), from);
    x.require_gradient();
    const Tensor y = ops::cast(tape, x, DType::bf16);
    CHECK(y.dtype() == DType::bf16);
    CHECK(doubles(y) == values);  // exact in bf16
    const Tensor r =
        Tensor::from({37}, std::span<const double>(test_values(37, Values::normal, 2)), DType::bf16);
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
          "[elementwise]") {
  const auto rounded = [](float v) {
    const Tensor t = Tensor::from({1}, std::span<const float>(&v, 1), DType::bf16);
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
  kernels::fill_uniform(x.stream(), x.dtype(), n, kState, -2, 3, x.data());
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
