// Samples drawn, painted and gathered. A thread draws one sample; their records are 64 bytes each. Painting
// and gathering are bound by what they write: a block takes a stretch of one sample. Painting first puts the
// stretch's densities into shared memory, one voxel a thread, then writes the channels as they lie in
// memory, 16 bytes a thread where addresses allow. Layout: images items×H×W, out N×D×H×W×C. Launch: 256
// threads, blocks over samples × stretches. Source: kernels/volumes.h.
#include "kernels/volumes.h"

#include "kernels/cuda/stretches.cuh"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr int kThreads = kStretchThreads;
constexpr int kPainted = 1024;  // voxels of a block
static_assert(kPainted % 4 == 0, "stretches begin at whole vectors");

VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    draw_kernel(VolumeParams params, std::int64_t items, SampleDraw draw, VolumeSample* samples) {
  const std::int64_t i = simt::global_thread();
  if (i >= draw.count) return;
  Random random = draw.random(i);
  // Not returned straight into memory: emulation does not see what a function writes as its result.
  const VolumeSample sample =
      draw_sample(random, params, [&](Random& numbers) { return draw.item(i, items, numbers); });
  samples[i] = sample;
}

/// Not an array's element: an index that changes would put the array into memory.
VOXOT_DEVICE float channel_of(const VolumeSample& sample, int c) {
  return c == 0 ? sample.rgb[0] : c == 1 ? sample.rgb[1] : sample.rgb[2];
}

/// How a voxel gets its density: as the image lies, turned in voxels, turned at the image's own resolution.
enum class Lookup : int { upright, turned, fine };

template <Lookup L>
VOXOT_DEVICE float density_of(const VolumeParams& p, const float* image, const VolumeSample& sample,
                              const Voxel& at) {
  if constexpr (L == Lookup::fine) return extruded_fine(p, image).rotated(sample.rotation, at.d, at.h, at.w);
  const Density density = extruded(p, image);
  return L == Lookup::turned ? density.rotated(sample.rotation, at.d, at.h, at.w)
                             : density.at(at.d, at.h, at.w);
}

template <int C, int V, Lookup L>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    paint_kernel(Stretches stretches, VolumeParams params, Extent extent, const float* images,
                 const VolumeSample* samples, float* out) {
  VOXOT_SHARED(densities, float[kPainted]);
  const Stretch stretch = stretch_of_block(stretches);
  const VolumeSample sample = samples[stretch.sample];
  const float* const image = images + sample.item * params.image_area();
  const int thread = static_cast<int>(simt::thread_index().x);
  for (int v = thread; v < stretch.length; v += kThreads) {
    const Voxel at = extent.voxel(stretch.first + v);
    densities[v] = density_of<L>(params, image, sample, at);
  }
  simt::sync_block();
  float* to = out + (static_cast<std::int64_t>(stretch.sample) * stretches.length + stretch.first) * C;
  for (int e = thread * V; e < stretch.length * C; e += kThreads * V) {
    simt::Vector<float, V> values;
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k) {
      values.values[k] = voxel_value(densities[(e + k) / C], channel_of(sample, (e + k) % C));
    }
    store_vector<V>(to + e, values);
  }
}

template <int V>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    gather_kernel(Stretches stretches, const float* volumes, const VolumeSample* samples, float* out) {
  const Stretch stretch = stretch_of_block(stretches);
  copy_stretch<V>(stretch, volumes + samples[stretch.sample].item * stretches.length,
                  out + static_cast<std::int64_t>(stretch.sample) * stretches.length);
}

VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    label_kernel(const std::int32_t* labels, std::int64_t n, const VolumeSample* samples, std::int32_t* out) {
  const std::int64_t i = simt::global_thread();
  if (i < n) out[i] = labels[samples[i].item];
}

/// One thread a sample.
template <class K, class... Args>
void launch_samples(const char* name, const Stream& stream, std::int64_t n, const K& kernel,
                    const Args&... args) {
  if (n == 0) return;
  VOXOT_CHECK(n <= 0x7FFFFFFF, "{}: {} samples, the device's kernels take 2³¹ − 1", name, n);
  const unsigned threads = threads_for(n, kThreads);
  simt::launch({name, {simt::blocks_for(n, threads)}, {threads}, 0, stream}, kernel, args...);
}

void draw(const Stream& stream, const VolumeParams& p, std::int64_t items, const SampleDraw& draw,
          VolumeSample* samples) {
  launch_samples("draw_samples", stream, draw.count, draw_kernel, p, items, draw, samples);
}

void gather_of_items(const Stream& stream, const std::int32_t* labels, std::int64_t n,
                     const VolumeSample* samples, std::int32_t* out) {
  launch_samples("gather_labels", stream, n, label_kernel, labels, n, samples, out);
}

template <int C>
void paint_channels(const Stream& stream, const VolumeParams& p, const float* images, std::int64_t n,
                    const VolumeSample* samples, float* out) {
  const Extent extent({p.extent[0], p.extent[1], p.extent[2]});
  with_width<float>({p.voxels() * C}, {out}, [&]<int V>() {
    const auto kernel = p.turn == Turn::none ? paint_kernel<C, V, Lookup::upright>
                        : p.fine > 0         ? paint_kernel<C, V, Lookup::fine>
                                             : paint_kernel<C, V, Lookup::turned>;
    launch_stretches("paint_volumes", stream, n, p.voxels(), kPainted, kernel, p, extent, images, samples,
                     out);
  });
}

void paint(const Stream& stream, const VolumeParams& p, const float* images, std::int64_t n,
           const VolumeSample* samples, float* out) {
  if (p.channels() == 3) return paint_channels<3>(stream, p, images, n, samples, out);
  paint_channels<1>(stream, p, images, n, samples, out);
}

void gather(const Stream& stream, std::int64_t width, const float* volumes, std::int64_t n,
            const VolumeSample* samples, float* out) {
  with_width<float>({width}, {volumes, out}, [&]<int V>() {
    launch_stretches("gather_volumes", stream, n, width, kGathered, gather_kernel<V>, volumes, samples, out);
  });
}

const Implement registered[] = {
    {draw_samples, Device::cuda, draw},
    {paint_volumes, Device::cuda, paint},
    {gather_volumes, Device::cuda, gather},
    {gather_labels, Device::cuda, gather_of_items},
};

}  // namespace
}  // namespace voxot::kernels
