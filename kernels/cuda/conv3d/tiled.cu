// All three passes in fp32 by tiles of shared memory, without tensor cores: every product and sum is an fp32
// one.
//
// A block of 256 threads computes Rows × Columns of the product (gather.cuh, weight.cuh say
// which) in steps of 16 along the summed axis; a thread holds 1/256 of it in registers. The next step's
// values are fetched into registers while this step's are multiplied, and stored into the other of two
// buffers. Both tiles lie with the summed axis outermost, so that a thread reads its rows and columns as
// 16-byte vectors. Launch: grid.x = row tiles × column tiles, grid.z = class or split.
#include "kernels/cuda/conv3d/moments.cuh"
#include "kernels/cuda/conv3d/weight.cuh"

namespace voxot::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kDepth = 16;
constexpr int kQuad = 4;
using Quad = Chunk<float>;

/// Two buffers of kDepth × (Rows and Columns) values; a row is padded by one quad against bank conflicts.
template <int Rows, int Columns>
struct Buffers {
  float a[2][kDepth][Rows + kQuad];
  float b[2][kDepth][Columns + kQuad];
};

/// acc[i][j] += Σ_k a[k][row + i]·b[k][column + j].
template <int Rows, int Columns, int OwnRows, int OwnColumns>
VOXOT_DEVICE void multiply(const Buffers<Rows, Columns>& tiles, int buffer, int row, int column,
                           float (&acc)[OwnRows][OwnColumns]) {
  VOXOT_UNROLL
  for (int k = 0; k < kDepth; ++k) {
    Quad a[OwnRows / kQuad];
    Quad b[OwnColumns / kQuad];
    VOXOT_UNROLL
    for (int i = 0; i < OwnRows / kQuad; ++i) {
      a[i] = *reinterpret_cast<const Quad*>(&tiles.a[buffer][k][row + kQuad * i]);
    }
    VOXOT_UNROLL
    for (int j = 0; j < OwnColumns / kQuad; ++j) {
      b[j] = *reinterpret_cast<const Quad*>(&tiles.b[buffer][k][column + kQuad * j]);
    }
    VOXOT_UNROLL
    for (int i = 0; i < OwnRows; ++i) {
      VOXOT_UNROLL
      for (int j = 0; j < OwnColumns; ++j) {
        acc[i][j] += a[i / kQuad].values[i % kQuad] * b[j / kQuad].values[j % kQuad];
      }
    }
  }
}

/// Four values along the summed axis of a gathered row, of one tap or of several.
template <bool Chunked>
VOXOT_DEVICE Quad gather(const GatherPlan& p, const GatherClass& g, const float* input, const GatherRow& row,
                         GatherPlace at) {
  Quad quad{};
  if constexpr (Chunked) {
    const int voxel = at.inside(g) ? gathered_voxel(g, row, at) : -1;
    if (voxel >= 0)
      quad =
          *reinterpret_cast<const Quad*>(input + static_cast<std::int64_t>(voxel) * p.channels + at.channel);
  } else {
    VOXOT_UNROLL
    for (int e = 0; e < kQuad; ++e) {
      const int voxel = at.inside(g) ? gathered_voxel(g, row, at) : -1;
      if (voxel >= 0) quad.values[e] = input[static_cast<std::int64_t>(voxel) * p.channels + at.channel];
      ++at.channel;
      at.settle(g, p.channels);
    }
  }
  return quad;
}

template <bool Chunked>
VOXOT_DEVICE Quad gather_weights(const GatherPlan& p, const GatherClass& g, const float* weight, int column,
                                 GatherPlace at) {
  Quad quad{};
  if (column >= p.columns) return quad;
  VOXOT_UNROLL
  for (int e = 0; e < kQuad; ++e) {
    if (!at.inside(g)) break;
    const std::int64_t from =
        (static_cast<std::int64_t>(column) * p.kernel_volume + at.kernel_tap(g)) * p.channels + at.channel;
    if constexpr (Chunked) return *reinterpret_cast<const Quad*>(weight + from);
    quad.values[e] = weight[from];
    ++at.channel;
    at.settle(g, p.channels);
  }
  return quad;
}

template <int Rows, int Columns, bool Chunked>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 2)
    tiled_gather(GatherPlan plan, const float* input, const float* weight, GatherEpilogue<float> epilogue,
                 float* output, TileMoments to) {
  constexpr int kOwnRows = Rows / 16;
  constexpr int kOwnColumns = Columns / 16;
  constexpr int kPasses = Rows * kDepth / kQuad / kThreads;
  constexpr int kColumnPasses = Columns * kDepth / kQuad / kThreads;
  const GatherClass& g = plan.classes[simt::block_index().z];
  const int column_tiles = (plan.columns + Columns - 1) / Columns;
  const int first_row = static_cast<int>(simt::block_index().x) / column_tiles * Rows;
  const int first_column = static_cast<int>(simt::block_index().x) % column_tiles * Columns;
  if (first_row >= g.rows) return;
  using Tiles = Buffers<Rows, Columns>;
  VOXOT_SHARED(tiles, Tiles);

  const int t = static_cast<int>(simt::thread_index().x);
  const int place_in_step = t % 4 * kQuad;
  GatherPlace place{place_in_step, {0, 0, 0}};
  place.settle(g, plan.channels);
  GatherRow rows[kPasses];
  VOXOT_UNROLL
  for (int i = 0; i < kPasses; ++i) rows[i] = gather_row(g, first_row + t / 4 + 64 * i);

  Quad a[kPasses];
  Quad b[kColumnPasses];
  const auto fetch = [&] {
    VOXOT_UNROLL
    for (int i = 0; i < kPasses; ++i) a[i] = gather<Chunked>(plan, g, input, rows[i], place);
    VOXOT_UNROLL
    for (int i = 0; i < kColumnPasses; ++i) {
      b[i] = gather_weights<Chunked>(plan, g, weight, first_column + t / 4 + 64 * i, place);
    }
    place.channel += kDepth;
    place.settle(g, plan.channels);
  };
  const auto store = [&](int buffer) {
    VOXOT_UNROLL
    for (int e = 0; e < kQuad; ++e) {
      VOXOT_UNROLL
      for (int i = 0; i < kPasses; ++i) tiles.a[buffer][place_in_step + e][t / 4 + 64 * i] = a[i].values[e];
      VOXOT_UNROLL
      for (int i = 0; i < kColumnPasses; ++i)
        tiles.b[buffer][place_in_step + e][t / 4 + 64 * i] = b[i].values[e];
    }
  };

  float acc[kOwnRows][kOwnColumns] = {};
  const int row = t / 16 * kOwnRows;
  const int column = t % 16 * kOwnColumns;
  const int steps = (summed_taps(g) * plan.channels + kDepth - 1) / kDepth;
  if (steps > 0) {
    fetch();
    store(0);
  }
  simt::sync_block();
  for (int step = 0; step < steps; ++step) {
    const bool more = step + 1 < steps;
    if (more) fetch();
    multiply<Rows, Columns>(tiles, step % 2, row, column, acc);
    if (more) store((step + 1) % 2);
    simt::sync_block();
  }

  VOXOT_UNROLL
  for (int i = 0; i < kOwnRows; ++i) {
    if (first_row + row + i >= g.rows) continue;
    const std::int64_t at = result_row(g, first_row + row + i) * plan.columns;
    VOXOT_UNROLL
    for (int j = 0; j < kOwnColumns; ++j) {
      const int q = first_column + column + j;
      if (q < plan.columns) output[at + q] = acc[i][j] = epilogue(acc[i][j], q, at + q);
    }
  }
  if (to.partials == nullptr) return;
  using Moments = ColumnMoments<16, Columns>;
  static_assert(sizeof(Moments) <= sizeof(Tiles));
  auto& moments = *reinterpret_cast<Moments*>(&tiles);  // all have done with the tiles
  const int tile_rows = g.rows - first_row < Rows ? g.rows - first_row : Rows;
  const auto rows_of = [=](int group) {
    const int count = tile_rows - group * kOwnRows;
    return count < 0 ? 0 : count < kOwnRows ? count : kOwnRows;
  };
  VOXOT_UNROLL
  for (int j = 0; j < kOwnColumns; ++j) {
    moments.of[t / 16][column + j] = moments_of<kOwnRows>(rows_of(t / 16), [&](int i) { return acc[i][j]; });
  }
  simt::sync_block();
  leave_moments(moments, rows_of, tile_rows, first_column, plan.columns, first_row / Rows, to);
}

/// Four columns of the product's second factor under one voxel.
template <bool Chunked>
VOXOT_DEVICE Quad gather_columns(const WeightPlan& p, const float* x, int voxel_row, int column) {
  Quad quad{};
  const GatherRow at = gather_row(p.g, voxel_row);
  VOXOT_UNROLL
  for (int e = 0; e < kQuad; ++e) {
    if (column + e >= p.columns) break;
    const GatherPlace place = place_of(p, column + e);
    const int voxel = gathered_voxel(p.g, at, place);
    const float* from = x + static_cast<std::int64_t>(voxel) * p.in_channels + place.channel;
    if constexpr (Chunked) return voxel < 0 ? quad : *reinterpret_cast<const Quad*>(from);
    if (voxel >= 0) quad.values[e] = *from;
  }
  return quad;
}

template <bool Chunked>
VOXOT_DEVICE Quad gather_gradient(const WeightPlan& p, const float* grad_y, int voxel, int q,
                                  int last_voxel) {
  Quad quad{};
  if (voxel >= last_voxel || q >= p.out_channels) return quad;
  const float* from = grad_y + static_cast<std::int64_t>(voxel) * p.out_channels + q;
  if constexpr (Chunked) {
    quad = *reinterpret_cast<const Quad*>(from);
  } else {
    VOXOT_UNROLL
    for (int e = 0; e < kQuad; ++e) {
      if (q + e < p.out_channels) quad.values[e] = from[e];
    }
  }
  return quad;
}

template <int Rows, int Columns, bool Chunked>
VOXOT_KERNEL void VOXOT_LAUNCH_BOUNDS(kThreads, 2)
    tiled_weight(WeightPlan p, const float* x, const float* grad_y, float* partial) {
  constexpr int kOwnRows = Rows / 16;
  constexpr int kOwnColumns = Columns / 16;
  const int column_tiles = (p.columns + Columns - 1) / Columns;
  const int first_row = static_cast<int>(simt::block_index().x) / column_tiles * Rows;
  const int first_column = static_cast<int>(simt::block_index().x) % column_tiles * Columns;
  const int split = static_cast<int>(simt::block_index().z);
  const int first_voxel = split * p.steps_per_split * kDepth;
  const int end = first_voxel + p.steps_per_split * kDepth;
  const int last_voxel = end < p.g.rows ? end : p.g.rows;
  using Tiles = Buffers<Rows, Columns>;
  VOXOT_SHARED(tiles, Tiles);

  // One row of 16 quads of each tile for every 16 threads.
  const int t = static_cast<int>(simt::thread_index().x);
  const int k = t / 16;
  constexpr int kRowQuads = Rows / 64;
  constexpr int kColumnQuads = Columns / 64;
  Quad a[kRowQuads];
  Quad b[kColumnQuads];
  const auto fetch = [&](int voxel) {
    VOXOT_UNROLL
    for (int i = 0; i < kRowQuads; ++i) {
      a[i] = gather_gradient<Chunked>(p, grad_y, voxel + k, first_row + 64 * i + t % 16 * kQuad, last_voxel);
    }
    VOXOT_UNROLL
    for (int i = 0; i < kColumnQuads; ++i) {
      b[i] = gather_columns<Chunked>(p, x, voxel + k, first_column + 64 * i + t % 16 * kQuad);
    }
  };
  const auto store = [&](int buffer) {
    VOXOT_UNROLL
    for (int i = 0; i < kRowQuads; ++i)
      *reinterpret_cast<Quad*>(&tiles.a[buffer][k][64 * i + t % 16 * kQuad]) = a[i];
    VOXOT_UNROLL
    for (int i = 0; i < kColumnQuads; ++i)
      *reinterpret_cast<Quad*>(&tiles.b[buffer][k][64 * i + t % 16 * kQuad]) = b[i];
  };

  float acc[kOwnRows][kOwnColumns] = {};
  const int row = t / 16 * kOwnRows;
  const int column = t % 16 * kOwnColumns;
  fetch(first_voxel);
  store(0);
  simt::sync_block();
  int buffer = 0;
  for (int voxel = first_voxel; voxel < last_voxel; voxel += kDepth) {
    const bool more = voxel + kDepth < last_voxel;
    if (more) fetch(voxel + kDepth);
    multiply<Rows, Columns>(tiles, buffer, row, column, acc);
    buffer = 1 - buffer;
    if (more) store(buffer);
    simt::sync_block();
  }

  float* to = partial + static_cast<std::int64_t>(split) * p.out_channels * p.columns;
  VOXOT_UNROLL
  for (int i = 0; i < kOwnRows; ++i) {
    const int q = first_row + row + i;
    if (q >= p.out_channels) continue;
    VOXOT_UNROLL
    for (int j = 0; j < kOwnColumns; ++j) {
      const int at = first_column + column + j;
      if (at < p.columns) to[static_cast<std::int64_t>(q) * p.columns + at] = acc[i][j];
    }
  }
}

template <int Rows, int Columns>
void run_gather(const Stream& stream, const ConvCall& c) {
  const GatherScratch scratch(c, Rows);
  const float* weight = gather_weight<float>(stream, c, scratch.weight);
  const bool chunked = takes_whole_chunks(c);
  for_each_plan(c, [&](const GatherPlan& plan, int classes) {
    int rows = 0;
    for (int i = 0; i < classes; ++i) rows = plan.classes[i].rows > rows ? plan.classes[i].rows : rows;
    const unsigned tiles = simt::blocks_for(rows, Rows) * simt::blocks_for(plan.columns, Columns);
    simt::launch({"conv3d tiled", {tiles, 1, static_cast<unsigned>(classes)}, {kThreads}, 0, stream},
                 chunked ? tiled_gather<Rows, Columns, true> : tiled_gather<Rows, Columns, false>, plan,
                 static_cast<const float*>(c.input), weight, gather_epilogue<float>(c),
                 static_cast<float*>(c.output), scratch.moments);
  });
  finish_statistics(stream, c, scratch.moments, Rows);
}

template <int Rows, int Columns>
void run_weight(const Stream& stream, const ConvCall& c) {
  const WeightPlan p(c.params, Rows, Columns, kDepth);
  float* partial = weight_partials(p);
  simt::launch({"conv3d_grad_weight tiled", p.grid(), {kThreads}, 0, stream},
               takes_whole_chunks(c) ? tiled_weight<Rows, Columns, true> : tiled_weight<Rows, Columns, false>,
               p, static_cast<const float*>(c.input), static_cast<const float*>(c.other), partial);
  add_partials(stream, p, partial, c);
}

}  // namespace

bool takes_tiled(const ConvCall& c) { return c.dtype == DType::f32 && gather_fits(c.params); }

void conv3d_tiled_128x64(const Stream& stream, const ConvCall& c) {
  return c.pass == ConvPass::grad_weight ? run_weight<128, 64>(stream, c) : run_gather<128, 64>(stream, c);
}
void conv3d_tiled_64x64(const Stream& stream, const ConvCall& c) {
  return c.pass == ConvPass::grad_weight ? run_weight<64, 64>(stream, c) : run_gather<64, 64>(stream, c);
}

}  // namespace voxot::cuda
