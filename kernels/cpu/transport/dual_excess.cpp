#include "kernels/dual_excess.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/scalar.h"

namespace voxot::kernels {
namespace {

template <class T>
double excess_of_row(const T* cost, double f, const double* g, std::int64_t count) {
  double most = -std::numeric_limits<double>::infinity();
  std::int64_t undefined = 0;
#pragma omp simd reduction(max : most) reduction(+ : undefined)
  for (std::int64_t j = 0; j < count; ++j) {
    const double sum = f + g[j];
    const double part = sum - f;
    const double rounded = (f - (sum - part)) + (g[j] - part);
    const double excess = (sum - static_cast<double>(cost[j])) + rounded;
    most = excess > most ? excess : most;
    undefined += excess == excess ? 0 : 1;
  }
  return undefined == 0 ? most : std::numeric_limits<double>::quiet_NaN();
}

template <class T>
double largest_of_row(const T* cost, std::int64_t count) {
  T largest = 0;
#pragma omp simd reduction(max : largest)
  for (std::int64_t j = 0; j < count; ++j) largest = std::max(largest, std::abs(cost[j]));
  return static_cast<double>(largest);
}

void run(const Stream&, DType dtype, const DualParams& p, const DualArrays& a) {
  VOXOT_CHECK(dtype != DType::bf16, "dual_excess: costs in bf16; expected fp32 or fp64");
  const auto all = [&]<class T>() {
#pragma omp parallel for schedule(static) if (p.count * p.rows * p.columns > 8 * cpu::kParallelGrain)
    for (std::int64_t i = 0; i < p.count * p.rows; ++i) {
      const T* const row = static_cast<const T*>(a.cost) + i * p.columns;
      a.excess[i] = excess_of_row(row, a.f[i], a.g + i / p.rows * p.columns, p.columns);
      a.largest[i] = largest_of_row(row, p.columns);
    }
  };
  dtype == DType::f64 ? all.template operator()<double>() : all.template operator()<float>();
}

const Implement dual_excess_cpu{dual_excess, Device::cpu, run};

}  // namespace
}  // namespace voxot::kernels
