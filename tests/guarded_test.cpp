// That a test notices what lies beside a tensor: a sentinel that is written over fails whoever holds it.
#include "tests/guarded.h"

#include <cmath>

#include "tests/op_case.h"

using namespace voxot;
using namespace voxot::test;

TEST_CASE("guarded: values between guards, off the alignment too", "[guarded][device]") {
  const Device device = GENERATE(from_range(devices()));
  const DType dtype = GENERATE(DType::f32, DType::bf16, DType::f64);
  const std::int64_t offset = GENERATE(0, 3);
  const std::vector<double> values{1, -2, 0.5, 4, 8, -16};
  for (const double guard : {kSentinel, static_cast<double>(NAN)}) {
    const Guarded x({2, 3}, values, dtype, guard, device, offset);
    CHECK(x.shape() == Shape{2, 3});
    CHECK(doubles(x) == values);
    x.fill(7);  // what is inside may change
  }
  CHECK(doubles(Guarded({2}, {}, dtype, kSentinel, device, offset)) == std::vector<double>(2, kSentinel));
}

// These pass by failing.
TEST_CASE("guarded: a write before it is noticed", "[guarded][!shouldfail]") {
  const Guarded x({5}, {1, 2, 3, 4, 5}, DType::f32, kSentinel);
  x.as<float>()[-1] = 0;
}
TEST_CASE("guarded: a write behind it is noticed", "[guarded][!shouldfail]") {
  const Guarded x({5}, {}, DType::bf16, kSentinel, Device::cpu, 1);
  x.as<std::uint16_t>()[5] = 0;
}
TEST_CASE("guarded: a write beside what is only read is noticed", "[guarded][!shouldfail]") {
  const Guarded x({5}, {1, 2, 3, 4, 5}, DType::f64, NAN);
  x.as<double>()[5 + kGuard - 1] = 0;
}
