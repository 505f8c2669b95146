#pragma once
// Winograd convolution of fp32 volumes, kernel 3×3×3, stride 1: F(2, 3) over D and H, F(m, 3) with m = 2 or 4
// over W. A tile of 2·2·m outputs costs 4·4·(m + 2) products per pair of channels instead of 27·4·m. Lavin
// and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/conv3d.h"
#include "kernels/sizes.h"

namespace voxot::kernels {

// The method as contracts, by which tests reach the form for the instruction set in use whatever the
// geometry.

/// transformed ← scale·weights (params, weights, scale, mirrored, transformed). The params are those of the
/// convolution that conv3d_winograd_forward will run. Mirrored: that convolution computes the grad_input of
/// the one whose weights [in_channels, 3, 3, 3, out_channels] are given.
inline constinit Kernel<void(const Conv3dParams&, const float*, float, bool, float*)> conv3d_winograd_weights{
    "conv3d_winograd_weights"};

/// y ← act(residual + (conv + bias)), or y += conv + bias where `accumulate` (no residual, no activation);
/// (params, x, transformed, bias, residual, activation, accumulate, y). Bias and residual may be null; the
/// activation is none, relu or leaky_relu.
inline constinit Kernel<void(const Conv3dParams&, const float*, const float*, const float*, const float*,
                             Activation, bool, float*)>
    conv3d_winograd_forward{"conv3d_winograd_forward"};

/// Overwrites grad_weight [C_out, 3, 3, 3, C_in] and grad_bias, which may be null (params, x, grad_y,
/// grad_weight, grad_bias). The same number of threads gives the same bits.
inline constinit Kernel<void(const Conv3dParams&, const float*, const float*, float*, float*)>
    conv3d_winograd_grad_weight{"conv3d_winograd_grad_weight"};

}  // namespace voxot::kernels

namespace voxot::cpu {

/// Whether geometry and channels fit and the method is expected to beat a direct convolution.
[[nodiscard]] bool winograd_eligible(const Conv3dParams& p);
[[nodiscard]] bool winograd_grad_weight_eligible(const Conv3dParams& p);

/// Floats that conv3d_winograd_weights writes.
[[nodiscard]] std::size_t winograd_weight_count(const Conv3dParams& p);

void winograd_transform_weights(const Conv3dParams& p, const float* w, float scale, bool mirrored,
                                float* transformed);
void winograd_forward(const Conv3dParams& p, const float* x, const float* transformed, const float* bias,
                      const float* residual, Activation activation, bool accumulate, float* y);
void winograd_grad_weight(const Conv3dParams& p, const float* x, const float* grad_y, float* grad_weight,
                          float* grad_bias);

// Vectors wider than the machine's are passed only to functions that are inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

/// What the translation units of the method share.
namespace winograd {

/// Frequencies along D (slices) and, in each, along H. Slices are transformed and multiplied one at a time:
/// fewer transformed tiles must then stay in the cache.
inline constexpr std::int64_t kSlices = 4;
inline constexpr std::int64_t kSlicePlanes = 4;
inline constexpr std::int64_t kPlanes = kSlices * kSlicePlanes;

template <int Lanes>
struct Vector;
template <>
struct Vector<4> {
  typedef float Type __attribute__((vector_size(16)));
  typedef float Loose __attribute__((vector_size(16), aligned(4), may_alias));
};
template <>
struct Vector<8> {
  typedef float Type __attribute__((vector_size(32)));
  typedef float Loose __attribute__((vector_size(32), aligned(4), may_alias));
};
template <>
struct Vector<16> {
  typedef float Type __attribute__((vector_size(64)));
  typedef float Loose __attribute__((vector_size(64), aligned(4), may_alias));
};

template <int Lanes>
[[gnu::always_inline]] inline typename Vector<Lanes>::Type load_lanes(const float* from) {
  return *reinterpret_cast<const typename Vector<Lanes>::Loose*>(from);
}
template <int Lanes>
[[gnu::always_inline]] inline void store_lanes(float* to, const typename Vector<Lanes>::Type& v) {
  *reinterpret_cast<typename Vector<Lanes>::Loose*>(to) = v;
}

/// The one-dimensional F(m, 3): V = Bᵀd, U = Gg, y = Aᵀ(U ⊙ V); the gradients of y and U go back through A
/// and Gᵀ.
template <int Width>
struct Points;

/// Points 0, 1, −1 and infinity.
template <>
struct Points<2> {
  template <class V>
  [[gnu::always_inline]] static void input(V* d) {
    const V d1 = d[1];
    d[0] = d[0] - d[2];
    d[1] = d1 + d[2];
    d[2] = d[2] - d1;
    d[3] = d1 - d[3];
  }
  template <class V>
  [[gnu::always_inline]] static void output(const V* m, V* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
  template <class V>
  [[gnu::always_inline]] static void grad_output(const V* y, V* m) {
    m[0] = y[0];
    m[1] = y[0] + y[1];
    m[2] = y[0] - y[1];
    m[3] = -y[1];
  }
  template <class V>
  [[gnu::always_inline]] static void weight(const V* g, V* u) {
    const V even = (g[0] + g[2]) * 0.5F;
    const V odd = g[1] * 0.5F;
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  }
  template <class V>
  [[gnu::always_inline]] static void grad_weight(const V* u, V* g) {
    const V even = (u[1] + u[2]) * 0.5F;
    g[0] = u[0] + even;
    g[1] = (u[1] - u[2]) * 0.5F;
    g[2] = u[3] + even;
  }
};

/// Points 0, ±a, ±b and infinity, which keep the rounding error smallest near a·b = 1.
template <>
struct Points<4> {
  static constexpr float a = 0.75F, b = 1.5F;
  static constexpr float a2 = a * a, b2 = b * b;
  // Lagrange denominators at 0, ±a, ±b.
  static constexpr float n0 = 1 / (a2 * b2), na = 1 / (2 * a2 * (a2 - b2)), nb = 1 / (2 * b2 * (b2 - a2));

  template <class V>
  [[gnu::always_inline]] static void input(V* d) {
    const V even_a = d[4] - b2 * d[2];
    const V odd_a = a * d[3] - (a * b2) * d[1];
    const V even_b = d[4] - a2 * d[2];
    const V odd_b = b * d[3] - (b * a2) * d[1];
    d[0] = (a2 * b2) * d[0] + (d[4] - (a2 + b2) * d[2]);
    d[5] = (a2 * b2) * d[1] + (d[5] - (a2 + b2) * d[3]);
    d[1] = even_a + odd_a;
    d[2] = even_a - odd_a;
    d[3] = even_b + odd_b;
    d[4] = even_b - odd_b;
  }
  template <class V>
  [[gnu::always_inline]] static void output(const V* m, V* y) {
    const V even_a = m[1] + m[2];
    const V odd_a = m[1] - m[2];
    const V even_b = m[3] + m[4];
    const V odd_b = m[3] - m[4];
    y[0] = m[0] + even_a + even_b;
    y[1] = a * odd_a + b * odd_b;
    y[2] = a2 * even_a + b2 * even_b;
    y[3] = (a * a2) * odd_a + (b * b2) * odd_b + m[5];
  }
  template <class V>
  [[gnu::always_inline]] static void grad_output(const V* y, V* m) {
    const V even_a = y[0] + a2 * y[2];
    const V odd_a = a * y[1] + (a * a2) * y[3];
    const V even_b = y[0] + b2 * y[2];
    const V odd_b = b * y[1] + (b * b2) * y[3];
    m[0] = y[0];
    m[1] = even_a + odd_a;
    m[2] = even_a - odd_a;
    m[3] = even_b + odd_b;
    m[4] = even_b - odd_b;
    m[5] = y[3];
  }
  template <class V>
  [[gnu::always_inline]] static void weight(const V* g, V* u) {
    const V even_a = na * g[0] + (na * a2) * g[2];
    const V odd_a = (na * a) * g[1];
    const V even_b = nb * g[0] + (nb * b2) * g[2];
    const V odd_b = (nb * b) * g[1];
    u[0] = n0 * g[0];
    u[1] = even_a + odd_a;
    u[2] = even_a - odd_a;
    u[3] = even_b + odd_b;
    u[4] = even_b - odd_b;
    u[5] = g[2];
  }
  template <class V>
  [[gnu::always_inline]] static void grad_weight(const V* u, V* g) {
    const V even_a = na * (u[1] + u[2]);
    const V odd_a = na * (u[1] - u[2]);
    const V even_b = nb * (u[3] + u[4]);
    const V odd_b = nb * (u[3] - u[4]);
    g[0] = n0 * u[0] + even_a + even_b;
    g[1] = a * odd_a + b * odd_b;
    g[2] = a2 * even_a + b2 * even_b + u[5];
  }
};

// What depends on the instruction set is internal to a source: the copies of the kernels do not share it.

/// Floats of the widest vector that the loops are written for: 16 where there are 32 registers of them
/// (AVX-512), else 8 (AVX2: 16 registers; NEON: 32 of half the size).
static constexpr int kWidest = kernels::kCompiledFor == kernels::InstructionSet::avx512 ? 16 : 8;
/// Whether all points along W of a few tiles stay in registers while their products are summed.
static constexpr bool kFused = kWidest == 16;

inline int lanes(std::int64_t channels) { return kWidest == 16 && channels % 16 == 0 ? 16 : 8; }

/// Calls body.operator()<Lanes, Width>().
template <class Body>
void with_shape(int lane_count, int width, Body&& body) {
  if constexpr (kWidest == 16) {
    if (lane_count == 16)
      return width == 4 ? body.template operator()<16, 4>() : body.template operator()<16, 2>();
  }
  return width == 4 ? body.template operator()<8, 4>() : body.template operator()<8, 2>();
}

/// How the output of one convolution is cut. A row is the tiles of one (sample, tile in D, tile in H), along
/// W; rows and the tiles in them are numbered through all samples.
struct Tiling {
  explicit Tiling(const Conv3dParams& p);

  std::int64_t c_in, c_out;
  std::array<std::int64_t, 3> in, out, padding;
  int width;  // m, the outputs of a tile along W
  std::int64_t tiles_d, tiles_h, row_tiles;
  std::int64_t rows;

  [[nodiscard]] std::int64_t tiles() const { return rows * row_tiles; }
  [[nodiscard]] int points() const { return width + 2; }
  [[nodiscard]] std::int64_t weight_count() const { return kPlanes * points() * c_in * c_out; }

  /// Output channels of a micro-kernel of the products.
  [[nodiscard]] std::int64_t block_channels() const { return c_out % 16 == 0 ? 16 : 8; }
  [[nodiscard]] std::int64_t blocks() const { return c_out / block_channels(); }
  /// Transformed weights of a plane are [block][c_in][point][channel of the block] where the points stay in
  /// registers together, else [block][point][c_in][channel of the block]: floats from one point to the next,
  /// from one input channel to the next, and to those of output channel q and input channel c.
  [[nodiscard]] std::int64_t point_step() const {
    return kFused ? block_channels() : c_in * block_channels();
  }
  [[nodiscard]] std::int64_t channel_step() const {
    return kFused ? points() * block_channels() : block_channels();
  }
  [[nodiscard]] std::int64_t weight_at(std::int64_t q, std::int64_t c) const {
    return q / block_channels() * points() * c_in * block_channels() + c * channel_step() +
           q % block_channels();
  }
};

/// Channels of a transformed input that lie side by side for each point.
inline std::int64_t chunk_channels(std::int64_t channels) { return channels % 16 == 0 ? 16 : 8; }

/// Transformed tiles [planes][tile][channels / group][per][group], `per` values for each channel; groups are
/// the chunk_channels of the input and the lanes of output channels. Strides in floats, padded against
/// conflicts in the cache.
struct TileArray {
  TileArray(std::int64_t planes, std::int64_t channels, std::int64_t per, std::int64_t tiles)
      : tile_stride(channels * per + 16),
        plane_stride(tile_stride * tiles + 16),
        size(to_size(planes * plane_stride)) {}
  std::int64_t tile_stride, plane_stride;
  std::size_t size;
};

/// Memory that keeps its largest size.
class Scratch {
 public:
  float* reserve(std::size_t floats) {
    if (lines_.size() * 16 < floats) lines_.resize((floats + 15) / 16);
    return lines_.front().values;
  }

 private:
  struct alignas(64) Line {
    float values[16];
  };
  std::vector<Line> lines_;
};

/// One slice of rows [begin, end) of x into the planes of v, whose first tile is that of row `begin`.
void transform_input(const Tiling& t, std::int64_t slice, const float* x, std::int64_t begin,
                     std::int64_t end, const TileArray& array, float* v);
/// The same for an output gradient, by the transpose of the output transform; adds its sums to bias [c_out],
/// which may be null.
void transform_grad_output(const Tiling& t, std::int64_t slice, const float* grad_y, std::int64_t begin,
                           std::int64_t end, const TileArray& array, float* v, float* bias);

/// Asks for the voxels of `volume` (extent in, or out) that rows begin + part, begin + part + kPlanes, … of
/// [begin, end) are the first to touch. Called once for each plane of the block before, it hides the memory
/// behind the products.
void prefetch_rows(const Tiling& t, const float* volume, const std::array<std::int64_t, 3>& extent,
                   std::int64_t channels, std::int64_t begin, std::int64_t end, std::int64_t part);

struct Epilogue {
  const float* bias;
  const float* residual;
  Activation activation;
  bool accumulate;
};
/// Products of rows [begin, end), transformed back along W already, into y.
void transform_output(const Tiling& t, const TileArray& array, const float* m, std::int64_t begin,
                      std::int64_t end, const Epilogue& e, float* y);

/// Rows in a block of at most `tiles` tiles (one row at least); the rows are first divided by `parts`, which
/// then run the same number of blocks.
std::int64_t block_rows(const Tiling& t, std::int64_t tiles, std::int64_t parts);

/// Groups into which the `blocks` of output channels of a slice are cut so that slices × groups fill the
/// threads.
std::int64_t slice_groups(std::int64_t threads, std::int64_t blocks);

/// m ← products of `tiles` tiles v with transformed weights u, for one plane and one block of output
/// channels; v is that plane, u and m hold all.
void multiply(const Tiling& t, std::int64_t plane, std::int64_t block, std::int64_t tiles,
              const TileArray& v_array, const float* v, const float* u, const TileArray& m_array, float* m);

/// u += products of `tiles` transformed inputs v and output gradients g, for one plane and one block of
/// output channels; v and g are that plane, u holds all.
void multiply_grad(const Tiling& t, std::int64_t plane, std::int64_t block, std::int64_t tiles,
                   const TileArray& v_array, const float* v, const TileArray& g_array, const float* g,
                   float* u);

/// grad_weight ← the sum of `copies` gradients u, each laid out as the transformed weights, in their order.
void transform_grad_weight(const Tiling& t, const float* u, int copies, float* grad_weight);

}  // namespace winograd
}  // namespace voxot::cpu
