#pragma once
// Antialiased resize of images. What makes a volume of one is kernels/volume_sample.h, for every device.
#include <vector>

namespace voxot {

/// Resize of square greyscale images with a triangle filter whose support is scaled by max(1, input/output),
/// separable, weights normalised at the borders: Pillow's `resize(BILINEAR)` in mode F, which is also
/// PyTorch's `interpolate(mode="bilinear", antialias=True)`. Equal sizes copy.
class ImageResizer {
 public:
  /// Throws UsageError for sizes below 1.
  ImageResizer(int input_size, int output_size);
  /// input_size² values to output_size² values. Not for two threads at once: it owns its intermediate image.
  void resize(const float* image, float* out);

 private:
  struct Window {
    int first;
    int count;
  };
  int input_;
  int output_;
  int taps_;                     // the widest window; row o of weights_ starts at o·taps_
  std::vector<Window> windows_;  // by output index
  std::vector<float> weights_;
  std::vector<float> rows_;  // input_ × output_: resized along W only
};

}  // namespace voxot
