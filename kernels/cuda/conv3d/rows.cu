// The forward pass of a layer from many channels to few (a potential's last): a block of 256 threads for each
// result, which multiplies a row of x by a row of the weight. A tile of a matrix product would leave all but
// one or two multiprocessors idle and walk the whole row in one of them.
#include "kernels/cuda/conv3d/gather.cuh"

namespace voxot::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::int64_t kMostColumns = 8;

template <class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    row_products(int channels, int columns, const T* x, const float* weight, GatherEpilogue<T> epilogue,
                 T* y) {
  VOXOT_SHARED(of_warps, float[kThreads / simt::kWarp]);
  const std::int64_t row = simt::block_index().x / static_cast<unsigned>(columns);
  const int column = static_cast<int>(simt::block_index().x % static_cast<unsigned>(columns));
  const T* const values = x + row * channels;
  const float* const weights = weight + static_cast<std::int64_t>(column) * channels;
  float sum = 0;
  for (int c = static_cast<int>(simt::thread_index().x); c < channels; c += static_cast<int>(kThreads))
    sum += load(values[c]) * weights[c];
  sum = simt::warp_sum(sum);
  if (simt::lane() == 0) of_warps[simt::warp()] = sum;
  simt::sync_block();
  if (simt::thread_index().x != 0) return;
  sum = 0;
  for (const float warp : of_warps) sum += warp;
  const std::int64_t at = simt::block_index().x;
  y[at] = epilogue(sum, column, at);
}

template <class T>
void launch(const Stream& stream, const ConvCall& c) {
  const Conv3dParams& p = c.params;
  const auto blocks = static_cast<unsigned>(p.batch * p.out_voxels() * p.out_channels);
  simt::launch({"conv3d row_products", {blocks}, {kThreads}, 0, stream}, row_products<T>,
               static_cast<int>(p.in_channels), static_cast<int>(p.out_channels),
               static_cast<const T*>(c.input), static_cast<const float*>(c.other), gather_epilogue<T>(c),
               static_cast<T*>(c.output));
}

}  // namespace

bool takes_row_products(const ConvCall& c) {
  const Conv3dParams& p = c.params;
  const std::array<std::int64_t, 3> one{1, 1, 1};
  return c.pass == ConvPass::forward && c.dtype != DType::f64 && p.kernel == one && p.stride == one &&
         p.padding == std::array<std::int64_t, 3>{} && p.out_channels <= kMostColumns && gather_fits(p) &&
         p.batch * p.out_voxels() * p.out_channels < (std::int64_t{1} << 31);
}

void conv3d_row_products(const Stream& stream, const ConvCall& c) {
  if (c.dtype == DType::bf16) {
    launch<Bf16>(stream, c);
  } else {
    launch<float>(stream, c);
  }
  conv3d_statistics(stream, c);
}

}  // namespace voxot::cuda
