#pragma once
// Sums over the middle axis of outer × axis × inner:
//   finish(chunk, r, Σ over the axis of term(r, x₀, x₁, …)),  r = o·inner + c
// They are in double, as on the CPU, and in an order that only shapes and alignment decide. Functors are
// structs with a VOXOT_DEVICE operator(); term takes values in Compute<X>.
//
// Launches, each with accesses of 16 bytes where alignment allows them:
//   short    a thread for each result, or for V neighbours; an axis up to 32
//   rows     a block for each chunk of a row; inner 1
//   columns  a block for each chunk of the axis and tile of columns; its threads stand in rows and columns
//
// Chunks share out a long axis when there are few results; their partial sums go through scratch memory and
// are summed by columns once more.
#include <algorithm>
#include <bit>

#include "kernels/cuda/vectors.cuh"
#include "kernels/simt/runtime.h"

namespace voxot::cuda {

struct SumView {
  std::int64_t outer = 1;
  std::int64_t axis = 1;
  std::int64_t inner = 1;
  [[nodiscard]] VOXOT_HOST_DEVICE std::int64_t results() const { return outer * inner; }
};

inline constexpr int kSumThreads = 256;
inline constexpr std::int64_t kShortAxis = 32;
/// Blocks that fill any device. A constant, so that every device sums in the same order.
inline constexpr std::int64_t kSumBlocks = 1024;

/// y[r] ← or += scale·sum
template <Write W, class T>
struct StoreSum {
  T* y;
  double scale;
  VOXOT_DEVICE void operator()(std::int64_t, std::int64_t r, double sum) const {
    put<W>(y[r], static_cast<Compute<T>>(sum * scale));
  }
};

struct StorePartial {
  double* partial;  // [chunks, results]
  std::int64_t results;
  VOXOT_DEVICE void operator()(std::int64_t chunk, std::int64_t r, double sum) const {
    partial[chunk * results + r] = sum;
  }
};

struct Itself {
  template <class F>
  VOXOT_DEVICE double operator()(std::int64_t, F x) const {
    return static_cast<double>(x);
  }
};

/// sums[k] += the term of element k, which belongs to result r + k·Step.
template <int V, int Step, class Term, class... X>
VOXOT_DEVICE void add_terms(const Term& term, std::int64_t r, double (&sums)[V],
                            const simt::Vector<X, V>&... x) {
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) sums[k] += term(r + k * Step, load(x.values[k])...);
}

template <int V, class Term, class Finish, class... X>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kSumThreads, 4)
    sum_short(SumView view, Term term, Finish finish, const X*... x) {
  const std::int64_t r = simt::global_thread() * V;
  if (r >= view.results()) return;
  const std::int64_t first = r / view.inner * view.axis * view.inner + r % view.inner;
  double sums[V] = {};
  for (std::int64_t k = 0; k < view.axis; ++k) {
    add_terms<V, 1>(term, r, sums, load_vector<V>(x + (first + k * view.inner))...);
  }
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) finish(0, r + k, sums[k]);
}

template <int V, class Term, class Finish, class... X>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kSumThreads, 4)
    sum_rows(SumView view, std::int64_t chunks, std::int64_t length, Term term, Finish finish,
             const X*... x) {
  VOXOT_SHARED(of_warps, double[kSumThreads / simt::kWarp]);
  const std::int64_t r = simt::block_index().x / chunks;
  const std::int64_t chunk = simt::block_index().x % chunks;
  const std::int64_t begin = r * view.axis + chunk * length;
  const std::int64_t end =
      r * view.axis + (view.axis < (chunk + 1) * length ? view.axis : (chunk + 1) * length);
  const unsigned t = simt::thread_index().x;
  double sums[V] = {};
  for (std::int64_t i = begin + t * V; i + V <= end; i += simt::block_extent().x * V) {
    add_terms<V, 0>(term, r, sums, load_vector<V>(x + i)...);
  }
  double sum = 0;
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) sum += sums[k];
  const std::int64_t rest = (end - begin) % V;
  if (t < rest) {
    double last[1] = {sum};
    add_terms<1, 0>(term, r, last, load_vector<1>(x + (end - rest + t))...);
    sum = last[0];
  }
  sum = simt::warp_sum(sum);
  if (simt::lane() == 0) of_warps[simt::warp()] = sum;
  simt::sync_block();
  if (t != 0) return;
  for (unsigned w = 1; w < simt::block_extent().x / simt::kWarp; ++w) sum += of_warps[w];
  finish(chunk, r, sum);
}

/// Columns, counted in vectors, come in tiles of `width`; threads beyond a block's last whole row stand idle.
struct ColumnTiles {
  std::int64_t tiles;
  std::int64_t chunks;
  std::int64_t length;  // rows of a chunk
  int width;
  int rows;
};

template <int V, class Term, class Finish, class... X>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kSumThreads, 4)
    sum_columns(SumView view, ColumnTiles grid, Term term, Finish finish, const X*... x) {
  VOXOT_SHARED(shared, double[V][kSumThreads]);
  const std::int64_t tile = simt::block_index().x % grid.tiles;
  const std::int64_t chunk = simt::block_index().x / grid.tiles % grid.chunks;
  const std::int64_t outer = simt::block_index().x / grid.tiles / grid.chunks;
  const int t = static_cast<int>(simt::thread_index().x);
  const int row = t / grid.width;
  const std::int64_t column = (tile * grid.width + t % grid.width) * V;
  const std::int64_t r = outer * view.inner + column;
  const bool active = row < grid.rows && column < view.inner;
  double sums[V] = {};
  if (active) {
    const std::int64_t last = view.axis < (chunk + 1) * grid.length ? view.axis : (chunk + 1) * grid.length;
    for (std::int64_t k = chunk * grid.length + row; k < last; k += grid.rows) {
      add_terms<V, 1>(term, r, sums, load_vector<V>(x + ((outer * view.axis + k) * view.inner + column))...);
    }
  }
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) shared[k][t] = sums[k];
  int span = 1;
  while (span < grid.rows) span *= 2;
  for (int half = span / 2; half > 0; half /= 2) {
    simt::sync_block();
    if (row < half && row + half < grid.rows) {
      VOXOT_UNROLL
      for (int k = 0; k < V; ++k) shared[k][t] += shared[k][t + half * grid.width];
    }
  }
  if (row != 0 || !active) return;
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) finish(chunk, r + k, shared[k][t]);
}

enum class SumLayout : std::uint8_t { short_axis, rows, columns };

/// How a view is summed.
struct SumPlan {
  SumView view;
  SumLayout layout = SumLayout::short_axis;
  bool vectors = false;
  unsigned threads = kSumThreads;
  ColumnTiles grid{1, 1, 0, 1, 1};
  /// Doubles of scratch memory.
  [[nodiscard]] std::int64_t partials() const { return grid.chunks == 1 ? 0 : grid.chunks * view.results(); }
};

/// `most_chunks` and `most_columns` bound a block's share.
inline SumPlan plan_sum(const SumView& view, int vector, bool aligned, std::int64_t most_chunks,
                        std::int64_t most_columns) {
  const auto over = [](std::int64_t a, std::int64_t b) { return (a + b - 1) / b; };
  SumPlan p;
  p.view = view;
  p.vectors = aligned && (view.inner % vector == 0 || (view.inner == 1 && view.axis > kShortAxis &&
                                                       (view.outer == 1 || view.axis % vector == 0)));
  const int v = p.vectors ? vector : 1;
  if (view.axis <= kShortAxis || view.results() == 0) return p;
  ColumnTiles& g = p.grid;
  std::int64_t step = 0;  // the axis elements that a block takes at once
  if (view.inner == 1 && most_chunks > 1) {
    p.layout = SumLayout::rows;
    if (view.axis <= 1024) p.threads = simt::kWarp;
    step = std::int64_t{p.threads} * v;
    g.chunks = std::min(kSumBlocks / view.outer, over(view.axis, 4 * step));
  } else {
    p.layout = SumLayout::columns;
    const std::int64_t columns = view.inner / v;
    g.width = static_cast<int>(over(columns, over(columns, most_columns)));
    g.rows = kSumThreads / g.width;
    g.tiles = over(columns, g.width);
    step = g.rows;
    g.chunks = std::min(kSumBlocks / (view.outer * g.tiles), over(view.axis, 32 * step));
  }
  g.chunks = std::clamp(g.chunks, std::int64_t{1}, most_chunks);
  g.length = over(over(view.axis, g.chunks), step) * step;
  g.chunks = over(view.axis, g.length);
  return p;
}

template <class... X>
SumPlan plan_sum(const SumView& view, const X*... x) {
  return plan_sum(view, vector_size<X...>(), (aligned(x) && ...), kSumBlocks, 128);
}

template <int V, class Term, class Finish, class... X>
void launch_sum(const Stream& stream, const char* name, const SumPlan& p, Term term, Finish finish,
                const X*... x) {
  const ColumnTiles& g = p.grid;
  if (p.layout == SumLayout::short_axis) {
    if constexpr (!std::is_same_v<Finish, StorePartial>) {  // a short axis is never shared out
      void (*kernel)(SumView, Term, Finish, const X*...) = sum_short<V, Term, Finish, X...>;
      const unsigned threads = threads_for((p.view.results() + V - 1) / V, p.threads);
      const unsigned blocks = simt::blocks_for(p.view.results(), std::int64_t{threads} * V);
      simt::launch({name, {blocks}, {threads}, 0, stream}, kernel, p.view, term, finish, x...);
    }
  } else if (p.layout == SumLayout::rows) {
    void (*kernel)(SumView, std::int64_t, std::int64_t, Term, Finish, const X*...) =
        sum_rows<V, Term, Finish, X...>;
    const unsigned blocks = simt::blocks_for(p.view.outer * g.chunks, 1);
    simt::launch({name, {blocks}, {p.threads}, 0, stream}, kernel, p.view, g.chunks, g.length, term, finish,
                 x...);
  } else {
    void (*kernel)(SumView, ColumnTiles, Term, Finish, const X*...) = sum_columns<V, Term, Finish, X...>;
    const unsigned blocks = simt::blocks_for(p.view.outer * g.chunks * g.tiles, 1);
    simt::launch({name, {blocks}, {p.threads}, 0, stream}, kernel, p.view, g, term, finish, x...);
  }
}

/// `partial` holds p.partials() doubles.
template <class Term, class Finish, class... X>
void ordered_sum(const Stream& stream, const char* name, const SumPlan& p, double* partial, Term term,
                 Finish finish, const X*... x) {
  if (p.view.results() == 0) return;
  const auto run = [&](auto to) {
    if (p.vectors) {
      launch_sum<vector_size<X...>()>(stream, name, p, term, to, x...);
    } else {
      launch_sum<1>(stream, name, p, term, to, x...);
    }
  };
  if (p.grid.chunks == 1) return run(finish);
  const std::int64_t results = p.view.results();
  run(StorePartial{partial, results});
  // Narrow tiles: the partial sums are few, and many blocks read them sooner.
  const SumPlan last = plan_sum({1, p.grid.chunks, results}, 1, false, 1, 8);
  launch_sum<1>(stream, name, last, Itself{}, finish, static_cast<const double*>(partial));
}

inline double* sum_scratch(std::int64_t doubles) {
  return static_cast<double*>(simt::scratch(static_cast<std::size_t>(doubles) * sizeof(double)));
}

template <class Term, class Finish, class... X>
void ordered_sum(const Stream& stream, const char* name, const SumView& view, Term term, Finish finish,
                 const X*... x) {
  const SumPlan p = plan_sum(view, x...);
  ordered_sum(stream, name, p, p.partials() == 0 ? nullptr : sum_scratch(p.partials()), term, finish, x...);
}

}  // namespace voxot::cuda
