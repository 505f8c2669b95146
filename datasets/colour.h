#pragma once
// Hues as colours. The palettes and the way back from a volume to its hue are declared in dataset.h.
#include <array>

namespace voxot {

/// Red, green, blue in [0, 1] of a hue in degrees, at full saturation and value (HSV with S = V = 1).
/// Any finite hue is taken modulo 360.
std::array<float, 3> rgb_of_hue(float hue);

/// Hue in degrees in [0, 360) of a colour, by the hexagonal HSV formula; -1 for a grey, that is, where
/// (max − min) is at most 5 % of max.
float hue_of_rgb(const std::array<float, 3>& rgb);

}  // namespace voxot
