#include "kernels/cuda/transport/sinkhorn_large.cuh"

#include <algorithm>

#include "kernels/cuda/transport/sinkhorn_certificate.cuh"
#include "kernels/simt/runtime.h"

namespace voxot::cuda::sinkhorn {
namespace {

VOXOT_DEVICE Team team_of_grid() {
  return {static_cast<int>(simt::global_thread() / 32), static_cast<int>(simt::global_threads() / 32),
          static_cast<int>(simt::lane())};
}

template <class T>
struct Large {
  Problem<T> p;
  SinkhornParams params;
  LargeState* state;
};

template <class T>
VOXOT_KERNEL void large_costs(Large<T> l) {
  cost_rows(l.p, team_of_grid());
}
template <class T>
VOXOT_KERNEL void large_begin(Large<T> l) {
  const Totals totals = totals_of(l.p, static_cast<int>(simt::lane()));
  const Progress now = begin(l.params, totals, has_start(l.p));
  if (simt::thread_index().x == 0) *l.state = {totals, now, {}};
  column_keys(l.p, now.epsilon, static_cast<int>(simt::thread_index().x), kThreads);
}
template <class T>
VOXOT_KERNEL void large_rows(Large<T> l, bool empty) {
  if (l.state->now.done != empty) return;
  if (!empty && l.state->now.symmetric) {
    symmetric_rows(l.p, l.state->now.epsilon, l.params.rho_a, team_of_grid());
    return;
  }
  rows(l.p, l.state->now.epsilon, l.params.rho_a, empty, empty ? 1 : l.state->now.omega, team_of_grid());
}
template <class T>
VOXOT_KERNEL void large_columns(Large<T> l) {
  if (!l.state->now.done && !l.state->now.symmetric) columns(l.p, l.state->now.epsilon, team_of_grid());
}
template <class T>
VOXOT_KERNEL void large_columns_done(Large<T> l) {
  if (l.state->now.done || l.state->now.symmetric) return;
  columns_done(l.p, l.state->now.epsilon, l.params.rho_b, l.state->now.omega,
               static_cast<int>(simt::global_thread()), static_cast<int>(simt::global_threads()));
}
/// One block.
template <class T>
VOXOT_KERNEL void large_advance(Large<T> l) {
  Progress now = l.state->now;
  if (now.done) return;
  advance(now, l.params, l.state->totals, passing_error(l.p, static_cast<int>(simt::lane())));
  simt::sync_block();
  if (simt::thread_index().x == 0) l.state->now = now;
  column_keys(l.p, now.epsilon, static_cast<int>(simt::thread_index().x), kThreads);
}
template <class T>
VOXOT_KERNEL void large_plan_rows(Large<T> l) {
  plan_rows(l.p, l.params, l.state->now.epsilon, team_of_grid());
}
template <class T>
VOXOT_KERNEL void large_plan_columns(Large<T> l) {
  plan_columns(l.p, l.state->now.epsilon, team_of_grid());
}
template <class T>
VOXOT_KERNEL void large_plan_columns_done(Large<T> l) {
  plan_columns_done(l.p, l.params, static_cast<int>(simt::global_thread()),
                    static_cast<int>(simt::global_threads()));
}
template <class T>
VOXOT_KERNEL void large_plan_values(Large<T> l) {
  plan_values(l.p, l.params, l.state->now.epsilon, team_of_grid());
}
/// One warp.
template <class T>
VOXOT_KERNEL void large_certificate(Large<T> l) {
  Progress now = l.state->now;
  SinkhornStatus status =
      certificate(l.p, l.params, now.epsilon, l.state->totals, static_cast<int>(simt::lane()));
  settle(now, l.params, status);
  simt::sync_warp();
  if (simt::lane() != 0) return;
  l.state->now = now;
  l.state->status = status;
}

unsigned blocks_of_warps(std::int64_t warps) {
  return static_cast<unsigned>(std::clamp<std::int64_t>((warps + kWarps - 1) / kWarps, 1, 0x7FFFFFFF));
}

}  // namespace

template <class T>
void solve_large(const Stream& stream, const SinkhornParams& params, const Problem<T>& whole,
                 const std::vector<Problem<T>>& panels, const std::function<void(std::size_t)>& prepare,
                 LargeState* state, SinkhornStatus& status) {
  const Large<T> all{whole, params, state};
  const auto launch = [&](unsigned grid, void (*kernel)(Large<T>), const Large<T>& l) {
    simt::launch({"sinkhorn", {grid}, {kThreads}, 0, stream}, kernel, l);
  };
  const auto launch_rows = [&](const Large<T>& l, bool empty) {
    simt::launch({"sinkhorn", {blocks_of_warps(l.p.rows)}, {kThreads}, 0, stream}, large_rows<T>, l, empty);
  };
  const auto launch_columns = [&](void (*kernel)(Large<T>), const Large<T>& l) {
    launch(blocks_of_warps((l.p.columns + 31) / 32 * static_cast<std::int64_t>(l.p.chunks)), kernel, l);
  };
  const unsigned done_grid = blocks_of_warps((whole.columns + 31) / 32);
  const auto each_panel = [&](const auto& body) {
    for (std::size_t k = 0; k < panels.size(); ++k) {
      prepare(k);
      body(Large<T>{panels[k], params, state});
    }
  };
  LargeState seen;
  const auto look = [&] {
    simt::copy(stream, &seen, state, sizeof seen);
    simt::synchronize(stream);
  };
  each_panel([&](const Large<T>& l) { launch(blocks_of_warps(l.p.rows), large_costs<T>, l); });
  launch(1, large_begin<T>, all);
  do {
    for (int round = 16; !seen.now.done; round = std::min(2 * round, 1024)) {
      for (int k = 0; k < round; ++k) {
        each_panel([&](const Large<T>& l) {
          launch_rows(l, false);
          launch_columns(large_columns<T>, l);
        });
        launch(done_grid, large_columns_done<T>, all);
        launch(1, large_advance<T>, all);
      }
      look();
    }
    each_panel([&](const Large<T>& l) {
      launch_rows(l, true);
      launch(blocks_of_warps(l.p.rows), large_plan_rows<T>, l);
      launch_columns(large_plan_columns<T>, l);
    });
    launch(done_grid, large_plan_columns_done<T>, all);
    each_panel([&](const Large<T>& l) { launch(blocks_of_warps(l.p.rows), large_plan_values<T>, l); });
    simt::launch({"sinkhorn", {1}, {32}, 0, stream}, large_certificate<T>, all);
    look();
  } while (!seen.now.done);
  status = seen.status;
}

template void solve_large(const Stream&, const SinkhornParams&, const Problem<float>&,
                          const std::vector<Problem<float>>&, const std::function<void(std::size_t)>&,
                          LargeState*, SinkhornStatus&);
template void solve_large(const Stream&, const SinkhornParams&, const Problem<double>&,
                          const std::vector<Problem<double>>&, const std::function<void(std::size_t)>&,
                          LargeState*, SinkhornStatus&);

}  // namespace voxot::cuda::sinkhorn
