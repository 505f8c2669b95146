// The autotuner: what it decides, remembers, takes from a pinned file and refuses.
#include <stdlib.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "kernels/cuda/conv3d/autotune.h"
#include "kernels/features.h"
#include "kernels/sizes.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

const Stream& stream() {
  static const Stream stream = kernels::stream_of(Device::cuda);
  return stream;
}

/// A small forward pass with its arrays.
struct Call {
  Call()
      : x(Tensor::full({2, 4, 4, 4, 16}, 1, DType::f32).to(Device::cuda)),
        weight(Tensor::full({24, 3, 3, 3, 16}, 1, DType::f32).to(Device::cuda)),
        y(Tensor::empty({2, 4, 4, 4, 24}, DType::f32, Device::cuda)) {
    call.dtype = DType::f32;
    call.math = cuda::ConvMath::tf32;
    call.params = {2, 16, 24, {4, 4, 4}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}};
    call.input = x.data();
    call.other = weight.data();
    call.output = y.data();
  }
  Tensor x, weight, y;
  cuda::ConvCall call;
};

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A cache folder of the test's own, and rules of thumb again when it is over.
class Restore {
 public:
  Restore() {
    if (const char* before = std::getenv("XDG_CACHE_HOME"); before != nullptr) before_ = before;
    ::setenv("XDG_CACHE_HOME", cache_.path().c_str(), 1);
  }
  ~Restore() {
    if (before_) {
      ::setenv("XDG_CACHE_HOME", before_->c_str(), 1);
    } else {
      ::unsetenv("XDG_CACHE_HOME");
    }
    cuda::configure({kernels::Autotune::off, {}});
  }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  [[nodiscard]] const TempDirectory& cache() const { return cache_; }

 private:
  TempDirectory cache_;
  std::optional<std::string> before_;
};

}  // namespace

TEST_CASE("autotune: measures once, remembers in a file, and a pinned file decides", "[cuda][autotune]") {
  if (no_device()) return;
  const Restore restore;
  const TempDirectory folder;
  const std::filesystem::path file = folder.path() / "deep" / "kernels.tsv";
  const Call c;
  cuda::configure({kernels::Autotune::measure, file, true});
  const std::string chosen = cuda::choose(stream(), c.call).name;
  CHECK(chosen != "naive");
  const std::string written = read(file);
  CHECK(written.starts_with(cuda::describe(c.call) + "\t" + chosen + "\t"));
  cuda::choose(stream(), c.call);
  CHECK(read(file) == written);

  SECTION("a second process takes what the file says") {
    cuda::configure({kernels::Autotune::measure, file, true});
    CHECK(cuda::choose(stream(), c.call).name == chosen);
    CHECK(read(file) == written);
    REQUIRE(cuda::choices().size() == 1);
    CHECK(cuda::choices()[0].variant == chosen);
    CHECK(cuda::choices()[0].reason.starts_with("measured "));
  }
  SECTION("pinned to another variant") {
    std::ofstream(file) << cuda::describe(c.call) << "\ttiled_64x64\t12.5\n";
    cuda::configure({kernels::Autotune::pinned, file});
    CHECK(cuda::choose(stream(), c.call).name == std::string("tiled_64x64"));
    Call other;
    other.call.params.batch = 1;
    CHECK(cuda::choose(stream(), other.call).name == std::string(cuda::rule_of_thumb(other.call).name));
    CHECK(read(file).ends_with("\ttiled_64x64\t12.5\n"));
  }
  SECTION("a remembered variant that is not here is measured anew") {
    std::ofstream(file) << cuda::describe(c.call) << "\tquantum\t0.5\n";
    cuda::configure({kernels::Autotune::measure, file, true});
    cuda::choose(stream(), c.call);
    REQUIRE(cuda::choices().size() == 1);
    CHECK(cuda::choices()[0].variant != "quantum");
    CHECK(cuda::choices()[0].reason.starts_with("measured "));
    cuda::configure({kernels::Autotune::measure, file, true});
    CHECK(cuda::choices()[0].variant != "quantum");
  }
  SECTION("off: rules of thumb") {
    cuda::configure({kernels::Autotune::off, {}});
    CHECK(cuda::choose(stream(), c.call).name == std::string(cuda::rule_of_thumb(c.call).name));
  }
}

TEST_CASE("autotune: bad files", "[cuda][autotune]") {
  if (no_device()) return;
  const Restore restore;
  const TempDirectory folder;
  const std::filesystem::path file = folder.path() / "kernels.tsv";
  CHECK_THROWS_WITH(cuda::configure({kernels::Autotune::pinned, file}), Catch::Contains("cannot read"));
  std::ofstream(file) << "not a choice\n";
  CHECK_THROWS_WITH(cuda::configure({kernels::Autotune::pinned, file}),
                    Catch::Contains("no choice in the line"));
  CHECK_NOTHROW(cuda::configure({kernels::Autotune::measure, file, true}));  // a damaged cache is passed over
  std::ofstream(file) << "forward fp32 x\tquantum\t1.0\n";
  CHECK_THROWS_WITH(cuda::configure({kernels::Autotune::pinned, file}),
                    Catch::Contains("no variant quantum"));
}

TEST_CASE("autotune: a variant that does not take the call is not run", "[cuda][autotune]") {
  if (no_device()) return;
  const Restore restore;
  Call c;
  c.call.math = cuda::ConvMath::exact;
  CHECK_THROWS_WITH(cuda::variant_named("implicit_gemm_64x64", c.call), Catch::Contains("does not take"));
  CHECK_THROWS_WITH(cuda::variant_named("quantum", c.call), Catch::Contains("no variant quantum"));
  cuda::force_variant("tiled_64x64");
  cuda::run(stream(), c.call);
  cuda::force_variant("");
  // 16 channels of ones under the taps inside: 8 at a corner, 27 in the middle.
  const std::vector<float> y = c.y.to_floats();
  CHECK(y[0] == 16 * 8);
  CHECK(y[to_size(((1 * 4 + 1) * 4 + 1) * 24)] == 16 * 27);
}
