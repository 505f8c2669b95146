#pragma once
// Which volumes the networks take: both halve extents several times.
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace voxot {

using Extents = std::array<std::int64_t, 3>;  // D, H, W

/// What a network does along D, H and W alike it leaves out along D where volumes are flat (D = 1): {none,
/// across, across}, else `across` thrice.
Extents axes(bool flat, std::int64_t across, std::int64_t none);

/// UNet3D halves three times: D (unless it is 1), H and W are multiples of 8.
bool unet3d_takes(const Extents& e);
/// Poolings between the blocks of ResNet3D: the shortest extent (D = 1 does not count) of 4·2^k to below
/// 8·2^k makes k of them.
std::int64_t resnet3d_levels(const Extents& e);
/// Every extent (D may be 1) is at least 4 and a multiple of 2^(levels + 1).
bool resnet3d_takes(const Extents& e);

/// Whether a network takes volumes of these extents.
using TakesExtents = std::function<bool(const Extents&)>;
/// The smallest extents that `takes` accepts and that reach each of `e`: what to pad volumes to. D = 1 stays.
std::optional<Extents> padded_extents(const Extents& e, const TakesExtents& takes);
/// The largest that `takes` accepts within `e`: what to crop volumes to.
std::optional<Extents> cropped_extents(const Extents& e, const TakesExtents& takes);

/// "16×32×32"
std::string text_of(const Extents& e);
/// "pad them to 16×32×32 or crop them to 8×24×24", as far as there are such sizes.
std::string advice_on(const Extents& e, const TakesExtents& takes);

}  // namespace voxot
