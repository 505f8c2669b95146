// sinkhorn_plan of kernels/sinkhorn.h, in double: a warp takes a row.
#include "kernels/cuda/transport/sinkhorn_plan.cuh"

#include <algorithm>
#include <vector>

#include "kernels/cuda/scalar.h"
#include "kernels/simt/runtime.h"

namespace voxot::kernels {
namespace {

using namespace cuda;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;

struct PlanOf {
  SinkhornShape shape;
  double epsilon;
};

template <class T>
VOXOT_DEVICE void plan_row(const SinkhornShape& shape, double epsilon, std::int64_t row, const T* cost,
                           const double* a, const double* b, const double* f, const double* g, T* plan) {
  const double ai = a[shape.source + row];
  const double fi = f[shape.source + row];
  for (std::int64_t j = simt::lane(); j < shape.columns; j += 32) {
    const std::int64_t at = shape.cost + row * shape.columns + j;
    const double weight = ai * b[shape.target + j];
    const double gap = fi + g[shape.target + j] - static_cast<double>(cost[at]);
    plan[at] = static_cast<T>(weight > 0 ? weight * exp(gap / epsilon) : 0);
  }
}

/// Launch: grid.x = problems × blocks of rows.
template <class T>
VOXOT_KERNEL void plans(const PlanOf* problems, int row_blocks, const T* cost, const double* a,
                        const double* b, const double* f, const double* g, T* plan) {
  const PlanOf of = problems[simt::block_index().x / row_blocks];
  const auto row = static_cast<std::int64_t>(simt::block_index().x % row_blocks) * kWarps + simt::warp();
  if (row < of.shape.rows) plan_row(of.shape, of.epsilon, row, cost, a, b, f, g, plan);
}

/// Launch: grid.x = blocks of rows.
template <class T>
VOXOT_KERNEL void one_plan(SinkhornShape shape, const SinkhornStatus* status, const T* cost, const double* a,
                           const double* b, const double* f, const double* g, T* plan) {
  const auto row = static_cast<std::int64_t>(simt::block_index().x) * kWarps + simt::warp();
  if (row < shape.rows) plan_row(shape, status->epsilon, row, cost, a, b, f, g, plan);
}

void run_plans(const Stream& stream, DType dtype, const SinkhornPlans& all) {
  VOXOT_CHECK(dtype != DType::bf16, "sinkhorn_plan: costs in bf16; expected fp32 or fp64");
  const std::int64_t count = all.count;
  if (count == 0) return;
  std::vector<PlanOf> problems;
  std::int64_t most_rows = 1;
  for (std::int64_t k = 0; k < count; ++k) {
    problems.push_back({all.shapes[k], all.epsilons[k]});
    most_rows = std::max(most_rows, all.shapes[k].rows);
  }
  const std::int64_t row_blocks = (most_rows + kWarps - 1) / kWarps;
  VOXOT_CHECK(count * row_blocks <= 0x7FFFFFFF, "sinkhorn_plan: {} problems of up to {} rows in one call",
              count, most_rows);
  auto* const device = static_cast<PlanOf*>(simt::scratch(problems.size() * sizeof(PlanOf)));
  simt::copy(stream, device, problems.data(), problems.size() * sizeof(PlanOf));
  simt::synchronize(stream);
  const auto launch = [&]<class T>() {
    simt::launch({"sinkhorn_plan", {static_cast<unsigned>(count * row_blocks)}, {kThreads}, 0, stream},
                 plans<T>, device, static_cast<int>(row_blocks), static_cast<const T*>(all.cost), all.a,
                 all.b, all.f, all.g, static_cast<T*>(all.plan));
  };
  if (dtype == DType::f64) return launch.template operator()<double>();
  launch.template operator()<float>();
}

const Implement sinkhorn_plan_cuda{sinkhorn_plan, Device::cuda, run_plans};

}  // namespace
}  // namespace voxot::kernels

namespace voxot::cuda::sinkhorn {

template <class T>
void queue_plan(const Stream& stream, const kernels::SinkhornQueued& q) {
  const kernels::SinkhornSides& s = q.sides;
  simt::launch({"sinkhorn_plan", {simt::blocks_for(q.rows, kernels::kWarps)}, {kernels::kThreads}, 0, stream},
               kernels::one_plan<T>, SinkhornShape{q.rows, q.columns}, q.status,
               static_cast<const T*>(q.cost), s.a, s.b, s.f, s.g, static_cast<T*>(q.plan));
}

template void queue_plan<float>(const Stream&, const kernels::SinkhornQueued&);
template void queue_plan<double>(const Stream&, const kernels::SinkhornQueued&);

}  // namespace voxot::cuda::sinkhorn
