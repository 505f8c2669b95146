#pragma once
// Samples of a data set that lies in a device's memory: drawn by the counter-based generator, gathered,
// extruded, rotated and coloured where they are used. The draw's number may lie in memory too
// (RandomState::offset), so that a recorded draw goes on. A sample is what kernels/volume_sample.h says.
#include "kernels/kernel.h"
#include "kernels/volume_sample.h"

namespace voxot::kernels {

/// Draws samples of `items` (params, items, draw, samples).
inline constinit Kernel<void(const VolumeParams&, std::int64_t, const SampleDraw&, VolumeSample*)>
    draw_samples{"draw_samples"};

/// n×D×H×W×C fp32 in [−1, 1] from images of densities, items×H×W, or items×fine×fine where they turn at their
/// own resolution (params, images, n, samples, out).
inline constinit Kernel<void(const VolumeParams&, const float*, std::int64_t, const VolumeSample*, float*)>
    paint_volumes{"paint_volumes"};

/// Copies of whole volumes: out[i] = volumes[samples[i].item], `width` values each (width, volumes, n,
/// samples, out).
inline constinit Kernel<void(std::int64_t, const float*, std::int64_t, const VolumeSample*, float*)>
    gather_volumes{"gather_volumes"};

/// out[i] = labels[samples[i].item] (labels, n, samples, out).
inline constinit Kernel<void(const std::int32_t*, std::int64_t, const VolumeSample*, std::int32_t*)>
    gather_labels{"gather_labels"};

}  // namespace voxot::kernels
