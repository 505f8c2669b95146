// Which volumes both networks take, and what to pad or crop the others to.
#include "models/extents.h"

#include <catch2/catch.hpp>

#include "apps/config.h"
#include "apps/extents.h"
#include "tests/temp_directory.h"

using namespace voxot;

namespace {

bool both(const Extents& e) { return unet3d_takes(e) && resnet3d_takes(e); }

std::string refusal(const SampleShape& shape, const std::string& more = "") {
  const RunConfig config = parse_config(
      "[source]\ndataset=\"npy\"\npath=\"a.npy\"\n[target]\ndataset=\"npy\"\npath=\"b.npy\"\n" + more,
      "x.toml");
  return test::error_of([&] { config.settings->check_shape(config, shape); });
}

}  // namespace

TEST_CASE("extents: the rules are those of the networks", "[models]") {
  CHECK(both({16, 16, 16}));
  CHECK(both({1, 16, 32}));
  CHECK(both({8, 16, 24}));
  CHECK(both({24, 24, 40}));
  CHECK(unet3d_takes({32, 32, 40}));
  CHECK_FALSE(resnet3d_takes({32, 32, 40}));  // the shortest, 32, is halved four times
  CHECK(resnet3d_takes({4, 6, 10}));
  CHECK_FALSE(unet3d_takes({4, 6, 10}));
  CHECK_FALSE(resnet3d_takes({2, 8, 8}));
  CHECK_FALSE(both({0, 8, 8}));
}

TEST_CASE("extents: the nearest sizes that work, found by trying all", "[models]") {
  // Every size within twice the extents, by voxels.
  const auto searched = [](const Extents& e, bool larger) {
    std::optional<Extents> best;
    for (std::int64_t d = e[0] == 1 ? 1 : 2; d <= (e[0] == 1 ? 1 : 2 * e[0] + 8); ++d) {
      for (std::int64_t h = 1; h <= 2 * e[1] + 8; ++h) {
        for (std::int64_t w = 1; w <= 2 * e[2] + 8; ++w) {
          const bool fits =
              larger ? d >= e[0] && h >= e[1] && w >= e[2] : d <= e[0] && h <= e[1] && w <= e[2];
          if (!fits || !both({d, h, w})) continue;
          const auto voxels = [](const Extents& x) { return x[0] * x[1] * x[2]; };
          if (!best || (larger ? d * h * w < voxels(*best) : d * h * w > voxels(*best)))
            best = Extents{d, h, w};
        }
      }
    }
    return best;
  };
  for (const Extents& e :
       {Extents{12, 30, 30}, {17, 17, 17}, {30, 31, 40}, {5, 9, 9}, {1, 28, 28}, {33, 40, 9}, {20, 22, 40}}) {
    INFO(text_of(e));
    CHECK(padded_extents(e, both) == searched(e, true));
    CHECK(cropped_extents(e, both) == searched(e, false));
  }
}

TEST_CASE("extents: a run is told both rules and the sizes at once", "[models]") {
  CHECK(refusal({16, 16, 16, 3}).empty());
  CHECK(refusal({12, 30, 30, 1}) ==
        "config: volumes of 12×30×30 (D×H×W) do not fit: transport.model unet3d takes multiples of 8 (D may "
        "be 1), "
        "potential.model resnet3d takes extents from 4 on, here multiples of 4 (D may be 1); pad them to "
        "16×32×32 or "
        "crop them to 8×24×24");
  CHECK_THAT(refusal({32, 32, 40, 1}), Catch::Contains("here multiples of 16") &&
                                           Catch::Contains("pad them to 32×32×48 or crop them to 32×32×32"));
  CHECK_THAT(refusal({5, 5, 5, 1}), Catch::EndsWith("; pad them to 8×8×8"));
  CHECK_THAT(refusal({1, 1, 1, 2}), Catch::Contains("vectors of 2 values") && Catch::Contains("\"mlp\""));
  const std::string mlps = "[transport]\nmodel=\"mlp\"\n[potential]\nmodel=\"mlp\"\n";
  CHECK(refusal({1, 1, 1, 2}, mlps).empty());
  CHECK_THAT(refusal({4, 6, 10, 1}), Catch::Contains("unet3d"));
  CHECK(refusal({4, 6, 10, 1}, "[transport]\nmodel=\"mlp\"\n").empty());
}
