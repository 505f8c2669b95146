#pragma once
// Where square greyscale digits come from: files (mnist.h, usps.h) or strokes (digits.h).
#include <cstdint>
#include <span>

#include "kernels/sizes.h"
#include "kernels/volume_sample.h"

namespace voxot {

/// Rows and columns of an image, unless its source says otherwise.
inline constexpr int kImageSize = 28;

/// One split of a population of labelled images.
class ImageSource {
 public:
  /// An underlying image: its index within the split, before any filter by class, and its digit.
  struct Item {
    std::int64_t index;
    int digit;
  };

  virtual ~ImageSource() = default;
  /// Rows and columns of each image.
  [[nodiscard]] virtual int side() const { return kImageSize; }
  /// Number of images in the split and the classes; -1 when unlimited.
  [[nodiscard]] virtual std::int64_t size() const = 0;
  /// All images where their number is finite, else none.
  [[nodiscard]] virtual std::span<const Item> items() const { return {}; }
  /// The image of sample i of a draw. A source without end draws it from `random` alone.
  virtual Item pick(const SampleDraw& draw, std::int64_t i, Random& random) const {
    return items()[to_size(draw.item(i, size(), random))];
  }
  /// Writes image `index` of the split: side()² intensities in [0, 1], top row first.
  virtual void render(std::int64_t index, float* image) const = 0;
};

}  // namespace voxot
