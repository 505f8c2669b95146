// The statistics of a forward pass: what its variants share on the host.
#include "kernels/cuda/conv3d/moments.cuh"
#include "kernels/simt/runtime.h"

namespace voxot::cuda {

GatherScratch::GatherScratch(const ConvCall& c, int tile_rows) {
  constexpr std::size_t kAlignment = 256;
  const std::size_t weight =
      (static_cast<std::size_t>(c.params.weight_count()) * size_of(c.dtype) + kAlignment - 1) / kAlignment *
      kAlignment;
  std::int64_t pairs = 0;
  if (tiles_take_statistics(c, tile_rows)) {
    const NormalisationParams n = c.epilogue.statistics.of(c.params);
    moments.tiles = static_cast<int>((n.rows + tile_rows - 1) / tile_rows);
    pairs = n.outer * n.channels * moments.tiles;
  }
  auto* const block =
      static_cast<std::byte*>(simt::scratch(weight + static_cast<std::size_t>(pairs) * sizeof(Pair<float>)));
  this->weight = block;
  if (pairs > 0) moments.partials = reinterpret_cast<Pair<float>*>(block + weight);
}

void finish_statistics(const Stream& stream, const ConvCall& c, const TileMoments& moments, int tile_rows) {
  if (moments.partials == nullptr) return conv3d_statistics(stream, c);
  const Conv3dStatistics& s = c.epilogue.statistics;
  const NormalisationParams n = s.of(c.params);
  join_moments(stream, {n.rows, tile_rows, moments.tiles, static_cast<int>(n.channels / n.groups)},
               n.outer * n.groups, moments.partials, static_cast<float*>(s.mean),
               static_cast<float*>(s.variance));
}

void conv3d_statistics(const Stream& stream, const ConvCall& c) {
  const Conv3dStatistics& s = c.epilogue.statistics;
  if (c.pass != ConvPass::forward || s.mean == nullptr) return;
  kernels::normalisation_statistics(stream, c.dtype, s.of(c.params), c.output, s.mean, s.variance);
}

}  // namespace voxot::cuda
