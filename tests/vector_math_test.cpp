// exp and log of the CPU's vector loops against the C library in a wider type, at the ends of their range
// too.
#include "kernels/cpu/vector_math.h"

#include <catch2/catch.hpp>
#include <cmath>

using namespace voxot::cpu;

namespace {

/// The largest error of `got` in units of the type's epsilon.
template <class T>
double worst(double low, double high, T (*got)(T), long double (*expected)(long double)) {
  double most = 0;
  constexpr int kSteps = 100003;
  for (int i = 0; i <= kSteps; ++i) {
    const T x = static_cast<T>(low + (high - low) * i / kSteps);
    const long double y = expected(static_cast<long double>(x));
    if (y == 0) continue;
    most = std::max(most, static_cast<double>(std::abs((static_cast<long double>(got(x)) - y) / y)) /
                              static_cast<double>(std::numeric_limits<T>::epsilon()));
  }
  return most;
}

template <class T>
void check_range(double most) {
  const double least = most - std::log(4.0);
  CHECK(worst<T>(-least, most, exp_lanes<T>, std::exp) < 1);
  CHECK(worst<T>(-1, 1, exp_lanes<T>, std::exp) < 1);
  for (const double top : {2.0, 1e3, 1e30}) CHECK(worst<T>(1e-6, top, log_lanes<T>, std::log) < 2);
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  CHECK(exp_lanes<T>(0) == 1);
  CHECK(exp_lanes<T>(-kInfinity) == 0);
  CHECK(exp_lanes<T>(static_cast<T>(-most - 1)) == 0);
  CHECK(exp_lanes<T>(static_cast<T>(most + 1)) == kInfinity);
  CHECK(exp_lanes<T>(kInfinity) == kInfinity);
  CHECK(log_lanes<T>(1) == 0);
  CHECK(log_lanes<T>(0) == -kInfinity);
  CHECK(log_lanes<T>(std::numeric_limits<T>::denorm_min()) == -kInfinity);
  CHECK(log_lanes<T>(kInfinity) == kInfinity);
  constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  for (const T nan : {kNaN, -kNaN}) CHECK((std::isnan(exp_lanes<T>(nan)) && std::isnan(log_lanes<T>(nan))));
  CHECK(std::isfinite(log_lanes<T>(std::numeric_limits<T>::min())));
}

}  // namespace

TEST_CASE("vector math: exp and log", "[vector_math]") {
  check_range<float>(88.72);
  check_range<double>(709.78);
}
