#pragma once
// Reductions of outer × rows × channels to pairs of numbers for each channel, in two steps without atomics.
// A block takes a chunk of the rows of one outer index and up to 64 neighbouring channel vectors; a thread
// takes one channel vector of every n-th row, so that what belongs to a channel is read once and neighbouring
// threads read neighbouring addresses whatever the channel count. The block leaves a pair for each channel in
// scratch, laid out [outer][channel][chunk], so that what belongs to one (outer, group) or one channel lies
// together; a second kernel joins them in double. Chunks depend on the shape alone, and with them the bits.
// Launch: at most 256 threads, blocks outer × tiles × chunks on grid.x; to join, 1, 32 or 256 threads for
// each result.
#include <algorithm>

#include "kernels/cuda/channels.cuh"
#include "kernels/cuda/moments.cuh"
#include "kernels/normalisation.h"

namespace voxot::cuda {

inline constexpr int kThreads = 256;
inline constexpr int kTile = 64;               // channel vectors of a block at most
inline constexpr std::int64_t kRowsEach = 4;   // rows of a thread at least, where there are so many
inline constexpr std::int64_t kBlocks = 2048;  // fill a large device; more work makes chunks longer

/// How outer × rows × channels is cut.
struct Layout {
  std::int64_t rows;
  int channels;
  int members;  // channels of a group
  int groups;
  int tile;  // channel vectors of a block
  int tiles;
  int down;  // rows that a block takes at once
  int chunks;
  std::int64_t chunk;  // rows

  Layout(const NormalisationParams& p, int width)
      : rows(p.rows),
        channels(static_cast<int>(p.channels)),
        members(static_cast<int>(p.channels / p.groups)),
        groups(static_cast<int>(p.groups)) {
    const int vectors = channels / width;
    tiles = (vectors + kTile - 1) / kTile;
    tile = (vectors + tiles - 1) / tiles;
    down = static_cast<int>(std::min<std::int64_t>(kThreads / tile, (rows + kRowsEach - 1) / kRowsEach));
    const std::int64_t wanted = std::max<std::int64_t>(1, kBlocks / (p.outer * tiles));
    chunk = std::max((rows + wanted - 1) / wanted, 2 * kRowsEach * down);
    chunk = (chunk + down - 1) / down * down;
    chunks = static_cast<int>((rows + chunk - 1) / chunk);
  }
  [[nodiscard]] simt::Launch launch(const char* name, std::int64_t outer, const Stream& stream) const {
    return {
        name, {simt::blocks_for(outer * tiles * chunks, 1)}, {threads_for(tile * down, kThreads)}, 0, stream};
  }
};

/// A thread's share of a block's work.
struct Place {
  std::int64_t outer;
  std::int64_t first, last;  // rows: first, first + down, … below last
  int chunk;
  int channel;
  int row;      // of `down`
  bool active;  // the rest fill no row of the tile, or lie past the last channel: they only take the barriers
};

template <int V>
VOXOT_DEVICE Place place(const Layout& l) {
  const int thread = static_cast<int>(simt::thread_index().x);
  const unsigned block = simt::block_index().x;
  const unsigned rest = block / static_cast<unsigned>(l.chunks);
  Place p;
  p.chunk = static_cast<int>(block % static_cast<unsigned>(l.chunks));
  p.outer = rest / static_cast<unsigned>(l.tiles);
  p.row = thread / l.tile;
  p.channel = (static_cast<int>(rest % static_cast<unsigned>(l.tiles)) * l.tile + thread % l.tile) * V;
  p.active = p.row < l.down && p.channel < l.channels;
  p.first = p.chunk * l.chunk + p.row;
  const std::int64_t end = (p.chunk + 1) * l.chunk;
  p.last = end < l.rows ? end : l.rows;
  return p;
}

struct JoinSums {
  template <class F>
  VOXOT_DEVICE Pair<F> operator()(Pair<F> a, F, Pair<F> b, F) const {
    return {a.first + b.first, a.second + b.second};
  }
};
struct JoinMoments {
  template <class F>
  VOXOT_DEVICE Pair<F> operator()(Pair<F> a, F rows_a, Pair<F> b, F rows_b) const {
    const F share = rows_b / (rows_a + rows_b);
    const F d = b.first - a.first;
    return {a.first + d * share, a.second + b.second + d * d * rows_a * share};
  }
};

/// Joins the pairs of a block's threads over their rows, by halves, and leaves them in scratch. All threads
/// come.
template <class F, int V, class Join>
VOXOT_DEVICE void leave_partials(const Layout& l, const Place& p, Join join, Pair<F> (&pairs)[V], F rows,
                                 Pair<F>* partials) {
  using Slots = Pair<F>[V][kThreads];
  using Counts = F[kThreads];
  VOXOT_SHARED(slots, Slots);
  VOXOT_SHARED(counts, Counts);
  const int thread = static_cast<int>(simt::thread_index().x);
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) slots[k][thread] = pairs[k];
  counts[thread] = rows;
  int half = 1;
  while (2 * half < l.down) half *= 2;
  for (; half > 0; half /= 2) {
    simt::sync_block();
    const int other = thread + half * l.tile;
    if (!p.active || p.row >= half || p.row + half >= l.down || counts[other] == 0) continue;
    VOXOT_UNROLL
    for (int k = 0; k < V; ++k)
      slots[k][thread] = join(slots[k][thread], counts[thread], slots[k][other], counts[other]);
    counts[thread] += counts[other];
  }
  if (!p.active || p.row != 0) return;
  VOXOT_UNROLL
  for (int k = 0; k < V; ++k) {
    partials[(p.outer * l.channels + p.channel + k) * l.chunks + p.chunk] = slots[k][thread];
  }
}

/// A result's threads, 1, a warp or a block, which share its pairs: `member`, + Team, ….
template <int Team>
struct Joiner {
  std::int64_t result;
  int member;

  VOXOT_DEVICE Joiner()
      : result(simt::global_thread() / Team), member(static_cast<int>(simt::thread_index().x) % Team) {}
  /// The team's sum, in every thread.
  VOXOT_DEVICE double sum(double value) const {
    if constexpr (Team >= static_cast<int>(simt::kWarp)) value = simt::warp_sum(value);
    if constexpr (Team == kThreads) {
      using Slots = double[kThreads / simt::kWarp];
      VOXOT_SHARED(slots, Slots);
      simt::sync_block();  // the sum before may still be read
      if (simt::lane() == 0) slots[simt::warp()] = value;
      simt::sync_block();
      value = 0;
      for (const double slot : slots) value += slot;
    }
    return value;
  }
};

/// Calls body.operator()<Team>(launch) with the threads that join the `count` pairs of each result.
template <class Body>
void with_team(const char* name, const Stream& stream, std::int64_t results, std::int64_t count,
               Body&& body) {
  const auto call = [&]<int Team>() {
    const unsigned threads = threads_for(results * Team, kThreads);
    body.template operator()<Team>(
        simt::Launch{name, {simt::blocks_for(results * Team, threads)}, {threads}, 0, stream});
  };
  if (count <= 16) return call.template operator()<1>();
  if (count <= 1024) return call.template operator()<static_cast<int>(simt::kWarp)>();
  call.template operator()<kThreads>();
}

}  // namespace voxot::cuda
