#include "kernels/volumes.h"

#include <algorithm>

namespace voxot {

void VolumeParams::validate() const {
  const auto [depth, height, width] = extent;
  VOXOT_CHECK(depth >= 1 && height >= 1 && width >= 1, "volumes: extent {}×{}×{}", depth, height, width);
  VOXOT_CHECK(0 <= extrude[0] && extrude[0] < extrude[1] && extrude[1] <= depth,
              "volumes: slices [{}, {}) of {}", extrude[0], extrude[1], depth);
  VOXOT_CHECK(fine >= 0 && (fine == 0 || (height == width && turn != Turn::none)),
              "volumes: images of {0}×{0} for {1}×{2} voxels; expected square volumes that turn", fine,
              height, width);
  VOXOT_CHECK(palette_size <= kMostHues && (hues != Hues::palette || palette_size >= 1),
              "volumes: a palette of {} hues, expected 1 to {}", palette_size, kMostHues);
}

namespace kernels {
namespace {

void draw(const Stream&, const VolumeParams& p, std::int64_t items, const SampleDraw& draw,
          VolumeSample* samples) {
  for (std::int64_t i = 0; i < draw.count; ++i) {
    Random random = draw.random(i);
    samples[i] = draw_sample(random, p, [&](Random& numbers) { return draw.item(i, items, numbers); });
  }
}

template <int C>
float* paint_voxel(float density, const std::array<float, 3>& rgb, float* out) {
  for (int c = 0; c < C; ++c) out[c] = voxel_value(density, rgb[c]);
  return out + C;
}

/// Every slice that holds the image is the same: painted once, then copied.
template <int C>
void paint_upright(const VolumeParams& p, const Density& density, const std::array<float, 3>& rgb,
                   float* out) {
  const std::int64_t pitch = p.area() * C;
  std::fill(out, out + p.extent[0] * pitch, -1.0F);
  float* const painted = out + density.first * pitch;
  float* to = painted;
  for (std::int64_t v = 0; v < p.area(); ++v) to = paint_voxel<C>(density.values[v], rgb, to);
  for (int d = density.first + 1; d < density.last; ++d) {
    std::copy(painted, painted + pitch, out + d * pitch);
  }
}

template <int C, class AnyDensity>
void paint_rotated(const VolumeParams& p, const AnyDensity& density, const VolumeSample& sample, float* out) {
  for (int d = 0; d < p.extent[0]; ++d) {
    for (int h = 0; h < p.extent[1]; ++h) {
      for (int w = 0; w < p.extent[2]; ++w) {
        out = paint_voxel<C>(density.rotated(sample.rotation, d, h, w), sample.rgb, out);
      }
    }
  }
}

template <int C>
void paint_typed(const VolumeParams& p, const float* images, std::int64_t n, const VolumeSample* samples,
                 float* out) {
#pragma omp parallel for schedule(static) if (n * p.voxels() > 8192)
  for (std::int64_t i = 0; i < n; ++i) {
    const VolumeSample sample = samples[i];
    const float* const image = images + sample.item * p.image_area();
    float* const to = out + i * p.voxels() * C;
    if (p.turn == Turn::none) {
      paint_upright<C>(p, extruded(p, image), sample.rgb, to);
    } else if (p.fine > 0) {
      paint_rotated<C>(p, extruded_fine(p, image), sample, to);
    } else {
      paint_rotated<C>(p, extruded(p, image), sample, to);
    }
  }
}

void paint(const Stream&, const VolumeParams& p, const float* images, std::int64_t n,
           const VolumeSample* samples, float* out) {
  if (p.channels() == 3) return paint_typed<3>(p, images, n, samples, out);
  paint_typed<1>(p, images, n, samples, out);
}

void gather(const Stream&, std::int64_t width, const float* volumes, std::int64_t n,
            const VolumeSample* samples, float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    std::copy_n(volumes + samples[i].item * width, width, out + i * width);
  }
}

void gather_of_items(const Stream&, const std::int32_t* labels, std::int64_t n, const VolumeSample* samples,
                     std::int32_t* out) {
  std::transform(samples, samples + n, out, [labels](const VolumeSample& s) { return labels[s.item]; });
}

const Implement registered[] = {
    {draw_samples, Device::cpu, draw},
    {paint_volumes, Device::cpu, paint},
    {gather_volumes, Device::cpu, gather},
    {gather_labels, Device::cpu, gather_of_items},
};

}  // namespace
}  // namespace kernels
}  // namespace voxot
