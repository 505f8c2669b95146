// sinkhorn_streamed of kernels/sinkhorn.h: costs are computed for a panel of rows at a time, as many as stay
// in the L2 cache, whenever a phase reads them.
#include <algorithm>

#include "kernels/cuda/transport/sinkhorn_large.cuh"
#include "kernels/simt/runtime.h"

namespace voxot::kernels {
namespace {

using namespace cuda;
using namespace cuda::sinkhorn;

constexpr std::size_t kPanelBytes = std::size_t{16} << 20;  // where the L2 cache is not known
constexpr std::int64_t kTileRows = 64;                      // of pairwise_cost: fewer rows cost as much

/// Rows whose costs fill half of the L2 cache, in whole tiles.
std::int64_t panel_rows_of(std::int64_t n, std::int64_t m, std::size_t size) {
  const std::size_t level2 = simt::device_properties().level2;
  const auto costs = static_cast<std::int64_t>((level2 > 0 ? level2 / 2 : kPanelBytes) / size);
  return std::min(n, std::max(costs / m / kTileRows * kTileRows, kTileRows));
}

/// Device memory of one call: kernels that compute costs use the common scratch.
class DeviceBlock {
 public:
  explicit DeviceBlock(std::size_t bytes) : block_(simt::allocate(bytes)) {
    VOXOT_CHECK(block_ != nullptr, "sinkhorn_streamed: no device memory for {} bytes", bytes);
  }
  ~DeviceBlock() {
    try {
      simt::free(block_);
    } catch (const Error&) {
      // A device that has failed takes nothing back.
    }
  }
  DeviceBlock(const DeviceBlock&) = delete;
  DeviceBlock& operator=(const DeviceBlock&) = delete;
  [[nodiscard]] void* get() const { return block_; }

 private:
  void* block_;
};

template <class T>
void solve(const Stream& stream, DType dtype, const SinkhornParams& params, const SinkhornStreamed& s) {
  const PairwiseCostParams& features = s.features;
  const std::int64_t n = features.rows;
  const std::int64_t m = features.columns;
  const std::int64_t panel_rows = panel_rows_of(n, m, sizeof(T));
  std::int64_t chunks = 0;
  for (std::int64_t first = 0; first < n; first += panel_rows)
    chunks += chunks_of(std::min(panel_rows, n - first));
  Parts parts;
  Problem<T> whole;
  T* costs = nullptr;
  LargeState* state = nullptr;
  const auto lay_out = [&] {
    whole = lay_out_problem<T>(n, m, chunks, parts);
    costs = parts.take<T>(panel_rows * m);
    state = parts.take<LargeState>(1);
  };
  lay_out();
  const DeviceBlock block(parts.bytes());
  parts.base(block.get());
  lay_out();
  whole.cost = costs;
  set_sides(whole, s.sides);
  std::vector<Problem<T>> panels;
  std::int64_t chunk = 0;
  for (std::int64_t first = 0; first < n; first += panel_rows) {
    Problem<T> p = whole;
    p.first = static_cast<int>(first);
    p.rows = static_cast<int>(std::min(panel_rows, n - first));
    p.chunks = static_cast<int>(chunks_of(p.rows));
    p.a += first;
    p.f += first;
    p.row_keys += first;
    p.row_values += first;
    p.partial += chunk * m;
    chunk += p.chunks;
    panels.push_back(p);
  }
  const auto prepare = [&](std::size_t k) {
    PairwiseCostParams part = features;
    part.rows = panels[k].rows;
    const std::int64_t first = static_cast<std::int64_t>(k) * panel_rows * features.dimension;
    pairwise_cost(stream, dtype, part, static_cast<const T*>(s.x) + first, s.y, costs);
  };
  solve_large<T>(stream, params, whole, panels, prepare, state, *s.status);
}

void run(const Stream& stream, DType dtype, const SinkhornParams& params, const SinkhornStreamed& s) {
  params.validate();
  s.features.validate();
  VOXOT_CHECK(dtype != DType::bf16, "sinkhorn_streamed: features in bf16; expected fp32 or fp64");
  if (dtype == DType::f64) return solve<double>(stream, dtype, params, s);
  solve<float>(stream, dtype, params, s);
}

const Implement sinkhorn_streamed_cuda{sinkhorn_streamed, Device::cuda, run};

}  // namespace
}  // namespace voxot::kernels
