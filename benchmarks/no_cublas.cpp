// benchmarks/measure.h where the build has no cuBLAS: no ceiling of compute.
#include <fmt/format.h>

#include "benchmarks/measure.h"

namespace voxot::bench {

std::string describe_cublas() { return ""; }
std::string describe_cudnn() { return ""; }

std::optional<double> product_ceiling(Stopwatch&, const std::string& precision) {
  fmt::print(stderr, "skipped: no ceiling of {} products, this build has no cuBLAS\n", precision);
  return std::nullopt;
}

}  // namespace voxot::bench
