#include "models/noise.h"

#include "engine/ops/resample.h"

namespace voxot {

Tensor draw_noise(Tape& tape, const TransportMap& map, const Tensor& x, const NoiseOptions& options,
                  const RandomState& state) {
  const std::int64_t channels = map.noise_channels();
  if (channels == 0) return {};
  std::array<std::int64_t, 3> cells{};
  std::array<std::int64_t, 3> size{1, 1, 1};
  for (std::size_t a = 0; a < 3; ++a) {
    const std::int64_t extent = x.extent(a + 1);
    cells[a] = options.cells == 0 || extent == 1 ? extent : options.cells;
    VOXOT_CHECK(cells[a] >= 1 && extent % cells[a] == 0, "noise: {} cells do not divide the extent {} of {}",
                cells[a], extent, x.shape().text());
    size[a] = extent / cells[a];
  }
  const Tensor noise = Tensor::normal({x.extent(0), cells[0], cells[1], cells[2], channels}, state, 0,
                                      options.deviation, x.dtype(), x.device());
  return options.cells == 0 ? noise : ops::upsample(tape, noise, size, ops::Upsampling::nearest);
}

}  // namespace voxot
