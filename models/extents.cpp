#include "models/extents.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <span>

namespace voxot {
namespace {

/// What is halved: all three, or H and W of a flat volume.
std::span<const std::int64_t> halved(const Extents& e) { return std::span(e).subspan(e[0] == 1 ? 1 : 0); }

constexpr std::int64_t kLargest = std::int64_t{1} << 16;

/// The best of the volumes whose halved extents are multiples of 2, 4, 8, ... nearest to `e`.
template <class Round>
std::optional<Extents> nearest(const Extents& e, const TakesExtents& takes, const Round& round,
                               bool smallest) {
  std::optional<Extents> best;
  double best_voxels = 0;
  for (std::int64_t unit = 2; unit <= kLargest; unit *= 2) {
    Extents candidate = e;
    double voxels = 1;
    for (std::size_t a = e[0] == 1 ? 1 : 0; a < candidate.size(); ++a) {
      candidate[a] = round(e[a], unit);
      voxels *= static_cast<double>(candidate[a]);
    }
    if (*std::min_element(candidate.begin(), candidate.end()) < 1 || !takes(candidate)) continue;
    if (best && (smallest ? voxels >= best_voxels : voxels <= best_voxels)) continue;
    best = candidate;
    best_voxels = voxels;
  }
  return best;
}

}  // namespace

Extents axes(bool flat, std::int64_t across, std::int64_t none) {
  return {flat ? none : across, across, across};
}

bool unet3d_takes(const Extents& e) {
  const auto all = halved(e);
  return std::all_of(all.begin(), all.end(),
                     [](std::int64_t extent) { return extent >= 8 && extent % 8 == 0; });
}

std::int64_t resnet3d_levels(const Extents& e) {
  const auto all = halved(e);
  const std::int64_t shortest = *std::min_element(all.begin(), all.end());
  return std::max<std::int64_t>(
      0, std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(0, shortest) / 4)) - 1);
}

bool resnet3d_takes(const Extents& e) {
  const std::int64_t unit = std::int64_t{2} << resnet3d_levels(e);
  const auto all = halved(e);
  return std::all_of(all.begin(), all.end(),
                     [unit](std::int64_t extent) { return extent >= 4 && extent % unit == 0; });
}

std::optional<Extents> padded_extents(const Extents& e, const TakesExtents& takes) {
  return nearest(
      e, takes, [](std::int64_t extent, std::int64_t unit) { return (extent + unit - 1) / unit * unit; },
      true);
}

std::optional<Extents> cropped_extents(const Extents& e, const TakesExtents& takes) {
  return nearest(
      e, takes, [](std::int64_t extent, std::int64_t unit) { return extent / unit * unit; }, false);
}

std::string text_of(const Extents& e) { return fmt::format("{}×{}×{}", e[0], e[1], e[2]); }

std::string advice_on(const Extents& e, const TakesExtents& takes) {
  const auto larger = padded_extents(e, takes);
  const auto smaller = cropped_extents(e, takes);
  std::string text;
  if (larger) text = "pad them to " + text_of(*larger);
  if (smaller) text += (larger ? " or crop them to " : "crop them to ") + text_of(*smaller);
  return text;
}

}  // namespace voxot
