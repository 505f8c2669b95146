#pragma once
// From an image to a volume: antialiased resize, extrusion, rotation, colour. Everything on the host.
// Axes are D, H, W: an image's rows run along H (top row at h = 0), its columns along W, extrusion along D.
#include <array>
#include <cstdint>
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

/// A rotation of (d, h, w) column vectors, row-major.
using Rotation = std::array<float, 9>;

/// Right-handed rotation about one axis (0 = D, 1 = H, 2 = W) by an angle in degrees: with positive angle the
/// axes turn D→H→W→D, that is axis 0 takes H towards W, axis 1 takes W towards D, axis 2 takes D towards H.
Rotation rotation_about(int axis, double degrees);
/// a·b: b is applied first.
Rotation compose(const Rotation& a, const Rotation& b);

/// Rotates a density D×H×W about its centre ((extent − 1)/2 on each axis) with trilinear interpolation and
/// zero outside. `in` and `out` must not overlap.
void rotate_volume(const float* in, std::array<int, 3> extent, const Rotation& rotation, float* out);

/// Colours `count` densities: out[i, c] = 2·clamp(density[i], 0, 1)·rgb[c] − 1, channels last.
void colour_density(const float* density, std::int64_t count, const std::array<float, 3>& rgb, float* out);
/// The same without colour: one channel, out[i] = 2·clamp(density[i], 0, 1) − 1.
void scale_density(const float* density, std::int64_t count, float* out);

}  // namespace voxot
