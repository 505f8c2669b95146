// Matrix products: every transpose, batches, alpha and beta, off the tile.
#include "kernels/gemm.h"

#include "kernels/sizes.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

std::vector<double> plain_product(const GemmParams& p, const std::vector<double>& a,
                                  const std::vector<double>& b, const std::vector<double>& c) {
  std::vector<double> out(c.size());
  for (std::int64_t k = 0; k < p.batch; ++k) {
    for (std::int64_t i = 0; i < p.rows; ++i) {
      for (std::int64_t j = 0; j < p.columns; ++j) {
        double sum = 0;
        for (std::int64_t l = 0; l < p.inner; ++l) {
          const std::int64_t left = p.transpose_a ? l * p.rows + i : i * p.inner + l;
          const std::int64_t right = p.transpose_b ? j * p.inner + l : l * p.columns + j;
          sum += a[to_size(k * p.rows * p.inner + left)] * b[to_size(k * p.inner * p.columns + right)];
        }
        const auto at = to_size((k * p.rows + i) * p.columns + j);
        out[at] = p.alpha * sum + (p.beta == 0 ? 0 : p.beta * c[at]);
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("gemm: against plain loops", "[gemm][device]") {
  const std::array<std::int64_t, 4> sizes[] = {{1, 1, 1, 1}, {3, 5, 7, 2}, {17, 33, 65, 1}, {64, 1, 130, 3}};
  for (const auto& [rows, columns, inner, batch] : sizes) {
    for (const int flags : {0, 1, 2, 3}) {
      for (const double beta : {0.0, 1.0, -0.5}) {
        GemmParams p{rows, columns, inner, batch, (flags & 1) != 0, (flags & 2) != 0, 1.25, beta};
        const std::vector<double> a = test_values(batch * rows * inner, Values::normal, 1);
        const std::vector<double> b = test_values(batch * inner * columns, Values::normal, 2);
        // With β = 0 what is there must not be read.
        const std::vector<double> c = beta == 0 ? std::vector<double>(to_size(batch * rows * columns), NAN)
                                                : test_values(batch * rows * columns, Values::normal, 3);
        const std::vector<double> expected = plain_product(p, a, b, c);
        for (const Device device : devices()) {
          for (const DType dtype : {DType::f32, DType::f64}) {
            INFO(fmt::format("{}×{}×{}, {} of {} on {}, transposes {}, beta {}", rows, inner, columns, batch,
                             name_of(dtype), name_of(device), flags, beta));
            const Guarded ta({batch, rows * inner}, a, dtype, NAN, device);
            const Guarded tb({batch, inner * columns}, b, dtype, NAN, device);
            const Guarded tc({batch, rows * columns}, c, dtype, kSentinel, device);
            kernels::gemm(tc.stream(), dtype, p, ta.data(), tb.data(), tc.data());
            // Sums of at most 130 products in fp32.
            CHECK(distance(doubles(tc), expected) < (dtype == DType::f64 ? 1e-14 : 2e-6));
          }
        }
      }
    }
  }
}

TEST_CASE("gemm: refuses bf16 and empty products", "[gemm]") {
  float x = 0;
  CHECK_THAT(error_of([&] { kernels::gemm({}, DType::bf16, {}, &x, &x, &x); }),
             Catch::Contains("gemm: bf16"));
  GemmParams p;
  p.inner = 0;
  CHECK_THAT(error_of([&] { kernels::gemm({}, DType::f32, p, &x, &x, &x); }),
             Catch::Contains("1×0 with 0×1"));
}
