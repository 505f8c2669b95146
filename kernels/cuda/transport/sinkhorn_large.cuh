#pragma once
// One Sinkhorn problem on the whole device: a launch for each phase, and where the costs are not held, for
// each panel of rows. And the workspace that problems of every size have.
#include <functional>
#include <vector>

#include "kernels/cuda/parts.h"
#include "kernels/cuda/transport/sinkhorn_phases.cuh"

namespace voxot::cuda::sinkhorn {

inline constexpr int kThreads = 256;
inline constexpr int kWarps = kThreads / 32;

/// Chunks of rows in the columns' phases of a large problem.
inline std::int64_t chunks_of(std::int64_t rows) { return (rows + 127) / 128; }

struct LargeState {
  Totals totals;
  Progress now;
  SinkhornStatus status;
};

/// A problem with its workspace; costs, weights and potentials are the caller's to set.
template <class T>
Problem<T> lay_out_problem(std::int64_t rows, std::int64_t columns, std::int64_t chunks, Parts& parts) {
  VOXOT_CHECK(rows <= 0x7FFFFFFF && columns <= 0x7FFFFFFF,
              "sinkhorn: {} by {} points: expected fewer than 2³¹", rows, columns);
  Problem<T> p;
  p.rows = static_cast<int>(rows);
  p.columns = static_cast<int>(columns);
  p.chunks = static_cast<int>(chunks);
  p.row_pitch = rows;
  p.partial_pitch = chunks * columns;
  p.row_keys = parts.take<Split<T>>(rows);
  p.column_keys = parts.take<Split<T>>(columns);
  p.row_values = parts.take<double>(kRowValues * rows);
  p.column_values = parts.take<double>(kColumnValues * columns);
  p.partial = parts.take<double>(2 * p.partial_pitch);
  return p;
}

template <class T>
void set_sides(Problem<T>& p, const kernels::SinkhornSides& sides) {
  p.a = sides.a;
  p.b = sides.b;
  p.f = sides.f;
  p.g = sides.g;
}

/// Solves `whole`, whose rows the panels hold in order. `prepare` queues what fills a panel's costs; it is
/// called before each use of the panel.
template <class T>
void solve_large(const Stream& stream, const SinkhornParams& params, const Problem<T>& whole,
                 const std::vector<Problem<T>>& panels, const std::function<void(std::size_t)>& prepare,
                 LargeState* state, SinkhornStatus& status);

}  // namespace voxot::cuda::sinkhorn
