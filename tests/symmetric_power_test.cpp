#include "engine/symmetric_power.h"

#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

TEST_CASE("symmetric_power: roots and inverses of small matrices", "[symmetric_power]") {
  // Eigenvectors (1, 1) and (1, −1) with 9 and 1.
  const std::vector<double> m{5, 4, 4, 5};
  CHECK(distance(symmetric_power(m, 2, 0.5), std::vector<double>{2, 1, 1, 2}) < 1e-14);
  CHECK(distance(symmetric_power(m, 2, -1), std::vector<double>{5. / 9, -4. / 9, -4. / 9, 5. / 9}) < 1e-14);
  CHECK(symmetric_power(std::vector<double>{16}, 1, 0.25) == std::vector<double>{2});
  // Singular: an eigenvalue that rounding may put below 0 has a root all the same.
  CHECK(distance(symmetric_power(std::vector<double>{1, 1, 1, 1}, 2, 0.5),
                 std::vector<double>{M_SQRT1_2, M_SQRT1_2, M_SQRT1_2, M_SQRT1_2}) < 1e-7);
  CHECK_THAT(error_of([&] { symmetric_power(m, 3, 1); }), Catch::Contains("4 elements for a matrix of 3×3"));
}
