#pragma once
// Procedural handwriting: digits drawn from strokes, labelled, in a population too large to run out of, so
// that everything works with no download. Image i of a split is a pure function of (split, i).
#include <cstdint>
#include <memory>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/image_source.h"

namespace voxot {

/// Images in each split: the largest multiple of ten within 2^31. The splits use disjoint Philox counters.
inline constexpr std::int64_t kDigitItems = 2'147'483'640;

/// The digit that image `index` shows: index mod 10, so every class has the same share.
int digit_of_item(std::int64_t index);

/// Draws image `index` of a split: kImageSize² intensities in [0, 1], black ground, top row first. The ink
/// fits a box of about 20×20 as in MNIST. Throws Error for an index outside [0, kDigitItems).
void draw_digit(Split split, std::int64_t index, float* image);

/// The procedural digits of these classes (empty: all ten) as a source without end.
std::unique_ptr<ImageSource> open_digits(Split split, const std::vector<int>& classes);

}  // namespace voxot
