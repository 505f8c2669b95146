#pragma once
// The hue of a colour. The palettes and the way from a volume to its hue are declared in dataset.h, a hue's
// colour in kernels/volume_sample.h.
#include <array>

namespace voxot {

/// Hue in degrees in [0, 360) of a colour, by the hexagonal HSV formula; -1 for a grey, that is, where
/// (max − min) is at most 5 % of max.
float hue_of_rgb(const std::array<float, 3>& rgb);

}  // namespace voxot
