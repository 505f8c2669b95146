// kernels/sinkhorn.h by the phases of sinkhorn_phases.cuh. Problems of at most 256×256 run in one block each,
// from the first iteration to the certificate, with the costs in shared memory where they fit. A larger one
// takes the whole device, a launch for a phase; the host looks whether it is done after 16, 32, … iterations.
#include "kernels/sinkhorn.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/cuda/transport/sinkhorn_certificate.cuh"
#include "kernels/cuda/transport/sinkhorn_large.cuh"
#include "kernels/cuda/transport/sinkhorn_plan.cuh"
#include "kernels/simt/runtime.h"

namespace voxot::kernels {
namespace {

using namespace cuda;
using namespace cuda::sinkhorn;

constexpr std::int64_t kBlockExtent = kMostQueuedOnCuda;

VOXOT_DEVICE Team team_of_block() {
  return {static_cast<int>(simt::warp()), kWarps, static_cast<int>(simt::lane())};
}
template <class T>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 1)
    solve_in_block(const Problem<T>* problems, SinkhornParams params, std::int64_t shared_costs,
                   SinkhornStatus* statuses) {
  Problem<T> p = problems[simt::block_index().x];
  const Team team = team_of_block();
  const int t = static_cast<int>(simt::thread_index().x);
  const std::int64_t count = static_cast<std::int64_t>(p.rows) * p.columns;
  if (count <= shared_costs) {
    T* const costs = simt::dynamic_shared<T>();
    for (std::int64_t k = t; k < count; k += kThreads) costs[k] = p.cost[k];
    p.cost = costs;
    simt::sync_block();
  }
  cost_rows(p, team);
  simt::sync_block();
  const Totals totals = totals_of(p, team.lane);
  Progress now = begin(params, totals, has_start(p));
  SinkhornStatus status;
  do {
    while (!now.done) {
      column_keys(p, now.epsilon, t, kThreads);
      simt::sync_block();
      if (now.symmetric) {
        symmetric_rows(p, now.epsilon, params.rho_a, team);
      } else {
        rows(p, now.epsilon, params.rho_a, false, now.omega, team);
        simt::sync_block();
        columns(p, now.epsilon, team);
        simt::sync_block();
        columns_done(p, now.epsilon, params.rho_b, now.omega, t, kThreads);
      }
      simt::sync_block();
      advance(now, params, totals, passing_error(p, team.lane));
    }
    column_keys(p, now.epsilon, t, kThreads);
    simt::sync_block();
    rows(p, now.epsilon, params.rho_a, true, 1, team);
    simt::sync_block();
    plan_rows(p, params, now.epsilon, team);
    simt::sync_block();
    plan_columns(p, now.epsilon, team);
    simt::sync_block();
    plan_columns_done(p, params, t, kThreads);
    simt::sync_block();
    plan_values(p, params, now.epsilon, team);
    simt::sync_block();
    status = certificate(p, params, now.epsilon, totals, team.lane);
    settle(now, params, status);
  } while (!now.done);
  if (t == 0) statuses[simt::block_index().x] = status;
}

/// Puts a problem's record into the device's memory without the host's, which a graph would read again.
template <class T>
VOXOT_KERNEL void put_problem(Problem<T> problem, Problem<T>* to) {
  *to = problem;
}

bool in_block(const SinkhornShape& s) { return s.rows <= kBlockExtent && s.columns <= kBlockExtent; }

std::int64_t chunks_in_block(std::int64_t rows, std::int64_t columns) {
  return std::clamp<std::int64_t>(kWarps / ((columns + 31) / 32), 1, rows);
}

/// Costs of type T that a block's shared memory holds.
template <class T>
std::int64_t shared_room() {
  return static_cast<std::int64_t>(simt::device_properties().shared_per_block / sizeof(T));
}

template <class T>
void launch_blocks(const Stream& stream, const SinkhornParams& params, std::size_t count,
                   std::int64_t shared_costs, const Problem<T>* problems, SinkhornStatus* statuses) {
  simt::launch({"sinkhorn",
                {static_cast<unsigned>(count)},
                {kThreads},
                static_cast<std::size_t>(shared_costs) * sizeof(T),
                stream},
               solve_in_block<T>, problems, params, shared_costs, statuses);
}

template <class T>
void solve_all(const Stream& stream, const SinkhornParams& params, const SinkhornBatch& all) {
  const std::int64_t count = all.count;
  const SinkhornShape* const shapes = all.shapes;
  std::vector<std::int64_t> small;
  std::vector<Problem<T>> problems(static_cast<std::size_t>(count));
  Parts parts;
  Problem<T>* device_problems = nullptr;
  SinkhornStatus* device_statuses = nullptr;
  LargeState* state = nullptr;
  const auto lay_out = [&] {
    device_problems = parts.take<Problem<T>>(count);
    device_statuses = parts.take<SinkhornStatus>(count);
    state = parts.take<LargeState>(1);
    for (std::int64_t k = 0; k < count; ++k) {
      const SinkhornShape& s = shapes[k];
      const std::int64_t chunks = in_block(s) ? chunks_in_block(s.rows, s.columns) : chunks_of(s.rows);
      Problem<T>& p = problems[static_cast<std::size_t>(k)];
      p = lay_out_problem<T>(s.rows, s.columns, chunks, parts);
      p.cost = static_cast<const T*>(all.cost) + s.cost;
      set_sides(p, all.sides.of(s));
    }
  };
  lay_out();
  parts.base(simt::scratch(parts.bytes()));
  lay_out();

  std::vector<Problem<T>> in_blocks;
  std::int64_t largest = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    if (!in_block(shapes[k])) continue;
    small.push_back(k);
    in_blocks.push_back(problems[static_cast<std::size_t>(k)]);
    const std::int64_t costs = shapes[k].rows * shapes[k].columns;
    if (costs <= shared_room<T>()) largest = std::max(largest, costs);
  }
  if (!small.empty()) {
    simt::copy(stream, device_problems, in_blocks.data(), in_blocks.size() * sizeof(Problem<T>));
    launch_blocks<T>(stream, params, small.size(), largest, device_problems, device_statuses);
    std::vector<SinkhornStatus> found(small.size());
    simt::copy(stream, found.data(), device_statuses, found.size() * sizeof(SinkhornStatus));
    simt::synchronize(stream);
    for (std::size_t k = 0; k < small.size(); ++k) all.statuses[small[k]] = found[k];
  }
  for (std::int64_t k = 0; k < count; ++k) {
    const Problem<T>& p = problems[static_cast<std::size_t>(k)];
    if (!in_block(shapes[k]))
      solve_large<T>(
          stream, params, p, {p}, [](std::size_t) {}, state, all.statuses[k]);
  }
}

void run(const Stream& stream, DType dtype, const SinkhornParams& params, const SinkhornBatch& all) {
  params.validate();
  VOXOT_CHECK(dtype != DType::bf16, "sinkhorn: costs in bf16; expected fp32 or fp64");
  if (all.count == 0) return;
  if (dtype == DType::f64) return solve_all<double>(stream, params, all);
  solve_all<float>(stream, params, all);
}

template <class T>
void solve_queued(const Stream& stream, const SinkhornParams& params, const SinkhornQueued& q) {
  Problem<T> problem;
  Parts parts;
  Problem<T>* place = nullptr;
  const auto lay_out = [&] {
    place = parts.take<Problem<T>>(1);
    problem = lay_out_problem<T>(q.rows, q.columns, chunks_in_block(q.rows, q.columns), parts);
  };
  lay_out();
  parts.base(simt::scratch(parts.bytes()));
  lay_out();
  problem.cost = static_cast<const T*>(q.cost);
  set_sides(problem, q.sides);
  simt::launch({"put_problem", {1}, {1}, 0, stream}, put_problem<T>, problem, place);
  const std::int64_t costs = q.rows * q.columns;
  launch_blocks<T>(stream, params, 1, costs <= shared_room<T>() ? costs : 0, place, q.status);
  queue_plan<T>(stream, q);
}

void run_queued(const Stream& stream, DType dtype, const SinkhornParams& params, const SinkhornQueued& q) {
  params.validate();
  VOXOT_CHECK(dtype != DType::bf16, "sinkhorn_queued: costs in bf16; expected fp32 or fp64");
  VOXOT_CHECK(in_block({q.rows, q.columns}), "sinkhorn_queued: {}×{} points; cuda takes up to {}×{}", q.rows,
              q.columns, kBlockExtent, kBlockExtent);
  if (dtype == DType::f64) return solve_queued<double>(stream, params, q);
  solve_queued<float>(stream, params, q);
}

const Implement sinkhorn_queued_cuda{kernels::sinkhorn_queued, Device::cuda, run_queued};
const Implement sinkhorn_cuda{kernels::sinkhorn, Device::cuda, run};

}  // namespace
}  // namespace voxot::kernels
