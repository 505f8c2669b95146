// The CUDA assignment against the CPU's, and by its potentials, at sizes on and off the warp.
#include <catch2/catch.hpp>

#include "engine/tensor.h"
#include "kernels/assignment.h"
#include "kernels/features.h"
#include "kernels/memory.h"
#include "kernels/sizes.h"
#include "solvers/exact_ot.h"
#include "tests/cuda_device.h"
#include "tests/golden.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

/// What the kernel answers on a device, for costs [count, n, n].
struct Answer {
  std::vector<std::int32_t> partner;
  std::vector<double> row_potential;
  std::vector<double> column_potential;
};

Answer answer(Device device, const Tensor& cost, bool initialise) {
  const std::int64_t count = cost.extent(0);
  const std::int64_t n = cost.extent(1);
  const Tensor here = cost.to(device);
  const Tensor partner = Tensor::full({count, n}, -7, DType::f32, device);  // whole numbers of the same width
  const Tensor f = Tensor::full({count, n}, NAN, DType::f64, device);
  const Tensor g = Tensor::full({count, n}, NAN, DType::f64, device);
  kernels::assignment(kernels::stream_of(device), cost.dtype(),
                      {.count = count, .n = n, .initialise = initialise},
                      {.cost = here.data(),
                       .column_of_row = static_cast<std::int32_t*>(partner.data()),
                       .row_potential = static_cast<double*>(f.data()),
                       .column_potential = static_cast<double*>(g.data())});
  const Tensor back = partner.to(Device::cpu);
  const auto* first = static_cast<const std::int32_t*>(back.data());
  return {{first, first + count * n}, doubles(f), doubles(g)};
}

Tensor costs(std::int64_t count, std::int64_t n, int kind, DType dtype) {
  Random random(static_cast<std::uint64_t>(31 * n + kind), Purpose::test);
  std::vector<double> values(to_size(count * n * n));
  for (double& v : values) {
    v = static_cast<double>(kind == 0   ? random.uniform()
                            : kind == 1 ? random.normal()
                                        : static_cast<float>(random.below(3)));
    if (kind == 3) v = std::pow(10.0, 24 * static_cast<double>(random.uniform()) - 12);
  }
  if (kind == 4) {  // points on a line
    for (std::size_t k = 0; k < values.size(); ++k) {
      const auto i = static_cast<double>(k / to_size(n) % to_size(n));
      const auto j = static_cast<double>(k % to_size(n));
      values[k] = (i - 0.7 * j) * (i - 0.7 * j);
    }
  }
  return Tensor::from({count, n, n}, std::span<const double>(values), dtype);
}

void check_answer(const Tensor& cost, const Answer& a, double limit) {
  const std::vector<double> values = doubles(cost);
  const auto n = to_size(cost.extent(1));
  for (std::size_t k = 0; k < to_size(cost.extent(0)); ++k) {
    const std::span<const double> one = std::span(values).subspan(k * n * n, n * n);
    std::vector<PlanEntry> plan;
    for (std::size_t i = 0; i < n; ++i)
      plan.push_back({static_cast<std::int64_t>(i), a.partner[k * n + i], 1});
    const std::vector<double> masses(n, 1);
    const Certificate c = certify(one, masses, masses, plan, std::span(a.row_potential).subspan(k * n, n),
                                  std::span(a.column_potential).subspan(k * n, n));
    CHECK(c.marginal_error == 0);
    CHECK(c.strict_gap() <= limit);
    CHECK(c.primal == Approx(assign(one, cost.extent(1)).cost).epsilon(2 * limit).margin(1e-12));
  }
}

}  // namespace

TEST_CASE("assignment on cuda: proved, and equal to the CPU's", "[cuda][exact_ot]") {
  if (no_device()) return;
  for (const std::int64_t n : {1, 2, 31, 32, 33, 65}) {
    for (int kind = 0; kind < 5; ++kind) {
      for (const bool initialise : {true, false}) {
        INFO(n << " points, costs " << kind << (initialise ? "" : ", no initialisation"));
        const Tensor cost = costs(n > 40 ? 1 : 3, n, kind, kind == 1 ? DType::f64 : DType::f32);
        // Costs over 24 decades need the form whose potentials the value bounds; the others take either.
        if (kind == 3 ? initialise : !initialise && n != 33) continue;
        const Answer a = answer(Device::cuda, cost, initialise);
        check_answer(cost, a, 1e-9);
        if (kind < 2)
          CHECK(a.partner == answer(Device::cpu, cost, initialise).partner);  // the best is unique
      }
    }
  }
}

TEST_CASE("assignment on cuda: two hundred points and more", "[cuda][exact_ot]") {
  if (no_device()) return;
  for (const std::int64_t n : {129, 256}) {
    const Tensor cost = costs(1, n, 0, DType::f32);
    const Answer a = answer(Device::cuda, cost, true);
    check_answer(cost, a, 1e-9);
    CHECK(a.partner == answer(Device::cpu, cost, true).partner);
  }
  CHECK_THAT(error_of([] { answer(Device::cuda, costs(1, 257, 0, DType::f32), true); }),
             Catch::Contains("257 points") && Catch::Contains("256"));
}
