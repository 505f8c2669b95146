#include "tests/emulation_kernels.h"

#include "kernels/simt/runtime.h"
#include "kernels/simt/simt.h"

namespace voxot::testing {
namespace {

using simt::Bf16;
using simt::F16;
using simt::thread_index;

/// Device memory for a test, with or without contents.
template <class T>
struct Buffer {
  explicit Buffer(std::size_t count)
      : size(count), data(static_cast<T*>(simt::allocate(count * sizeof(T)))) {}
  explicit Buffer(std::span<const T> values) : Buffer(values.size()) {
    simt::copy({Device::cuda, nullptr}, data, values.data(), values.size_bytes());
  }
  ~Buffer() { simt::free(data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  std::vector<T> values() const {
    std::vector<T> v(size);
    simt::copy({Device::cuda, nullptr}, v.data(), data, size * sizeof(T));
    simt::synchronize({Device::cuda, nullptr});
    return v;
  }
  std::size_t size;
  T* data;
};

// --- planted faults
// -------------------------------------------------------------------------------------------------

VOXOT_KERNEL void read_at(const float* x, std::int64_t i, float* y) { y[0] = x[i]; }
VOXOT_KERNEL void write_at(float* x, std::int64_t i) { x[i] = 1; }
VOXOT_KERNEL void read_vector_at(const float* x, std::int64_t i, float* y) {
  *reinterpret_cast<simt::Vector<float, 4>*>(y) = *reinterpret_cast<const simt::Vector<float, 4>*>(x + i);
}

VOXOT_KERNEL void write_shared_at(int i) {
  VOXOT_SHARED(tile, float[8]);
  *reinterpret_cast<float*>(&tile[i]) = 1;
}
VOXOT_KERNEL void write_dynamic_at(int i) { simt::dynamic_shared<float>()[i] = 1; }
VOXOT_KERNEL void read_unwritten_shared(float* y) {
  VOXOT_SHARED(tile, float[32]);
  if (thread_index().x != 7) tile[thread_index().x] = 1;
  simt::sync_block();
  y[thread_index().x] = tile[thread_index().x];
}
VOXOT_KERNEL void misaligned_shared(float* y) {
  VOXOT_SHARED(tile, simt::Vector<float, 4>[8]);
  auto* words = reinterpret_cast<float*>(&tile);
  for (int i = 0; i < 32; ++i) words[i] = 0;
  *reinterpret_cast<simt::Vector<float, 4>*>(y) = *reinterpret_cast<simt::Vector<float, 4>*>(words + 2);
}
VOXOT_KERNEL void race_of_writes() {
  VOXOT_SHARED(value, int);
  *&value = static_cast<int>(thread_index().x);
}
VOXOT_KERNEL void race_without_barrier(float* y) {
  VOXOT_SHARED(tile, float[64]);
  tile[thread_index().x] = 0;
  simt::sync_block();
  tile[thread_index().x] = 1;
  y[thread_index().x] = tile[63 - thread_index().x];
}
VOXOT_KERNEL void race_of_next_round(float* y) {
  VOXOT_SHARED(tile, float[64]);
  float sum = 0;
  for (int round = 0; round < 2; ++round) {
    tile[thread_index().x] = static_cast<float>(round);
    simt::sync_block();
    sum += tile[63 - thread_index().x];  // the next round overwrites it while others still read
  }
  y[thread_index().x] = sum;
}
VOXOT_KERNEL void race_in_warp(float* y) {
  VOXOT_SHARED(tile, float[32]);
  tile[thread_index().x] = 0;
  simt::sync_block();
  tile[thread_index().x] = 1;
  y[thread_index().x] = tile[31 - thread_index().x];  // no sync_warp
}
VOXOT_KERNEL void race_with_atomic(int* y) {
  VOXOT_SHARED(sum, int);
  if (thread_index().x == 0) sum = 0;
  simt::atomic_add(&sum, 1);
  simt::sync_block();
  y[thread_index().x] = sum;
}
VOXOT_KERNEL void atomic_at(int* y, std::int64_t i) { simt::atomic_add(&y[i], 1); }
VOXOT_KERNEL void atomic_shared_at(int i) {
  VOXOT_SHARED(bins, int[8]);
  bins[thread_index().x] = 0;
  simt::sync_block();
  simt::atomic_add(reinterpret_cast<int*>(&bins) + i, 1);
}
VOXOT_KERNEL void leave_before_barrier() {
  if (thread_index().x >= 40) return;
  simt::sync_block();
}
VOXOT_KERNEL void part_ways() {
  if (thread_index().x < 32) {
    simt::sync_block();
  } else {
    simt::sync_block();
  }
}
VOXOT_KERNEL void shuffle_with_ended_lane(int* y) {
  if (thread_index().x >= 16) return;
  y[thread_index().x] = simt::shuffle_xor(1, 1);
}
VOXOT_KERNEL void shuffle_from_outside_mask(int* y) {
  if (thread_index().x < 16) y[thread_index().x] = simt::shuffle(1, 20, 0xFFFF);
}
VOXOT_KERNEL void shuffle_against_barrier(int* y) {
  if (thread_index().x < 16) {
    y[thread_index().x] = simt::shuffle_xor(1, 1);
  } else {
    simt::sync_block();
  }
}
VOXOT_KERNEL void nothing() {}
struct Large {
  float values[16 * 1024];
};
VOXOT_KERNEL void large_static() {
  VOXOT_SHARED(tile, Large);
  *tile.values = 1;
}
VOXOT_KERNEL void read_before_copy_lands(const float* x, float* y) {
  VOXOT_SHARED(tile, simt::Vector<float, 4>[32]);
  simt::copy_async<16>(&tile[thread_index().x], x + 4 * thread_index().x);
  simt::commit_copies();
  y[thread_index().x] = tile[thread_index().x].values[0];
}
VOXOT_KERNEL void read_copy_of_other(const float* x, float* y) {
  VOXOT_SHARED(tile, simt::Vector<float, 4>[32]);
  tile[thread_index().x] = {};
  simt::sync_block();
  simt::copy_async<16>(&tile[thread_index().x], x + 4 * thread_index().x);
  simt::commit_copies();
  simt::wait_copies<0>();
  y[thread_index().x] = tile[31 - thread_index().x].values[0];
}
VOXOT_KERNEL void read_landed_copy_of_other(const float* x, float* y) {
  VOXOT_SHARED(tile, simt::Vector<float, 4>[32]);
  simt::copy_async<16>(&tile[thread_index().x], x + 4 * thread_index().x);
  simt::commit_copies();
  simt::wait_copies<0>();
  simt::shuffle_xor(0, 1);  // brings the warp together, but orders no memory
  y[thread_index().x] = tile[31 - thread_index().x].values[0];
}
VOXOT_KERNEL void wait_for_too_few(const float* x, float* y) {
  VOXOT_SHARED(tile, simt::Vector<float, 4>[64]);
  for (unsigned stage = 0; stage < 2; ++stage) {
    simt::copy_async<16>(&tile[32 * stage + thread_index().x], x + 4 * thread_index().x);
    simt::commit_copies();
  }
  simt::wait_copies<1>();
  simt::sync_block();
  y[thread_index().x] = tile[32 + thread_index().x].values[0];  // the second group is still on its way
}
VOXOT_KERNEL void copy_over_readers(const float* x, float* y) {
  VOXOT_SHARED(tile, simt::Vector<float, 4>[32]);
  tile[thread_index().x] = {};
  simt::sync_block();
  y[thread_index().x] = tile[31 - thread_index().x].values[0];
  simt::copy_async<16>(&tile[thread_index().x], x + 4 * thread_index().x);
  simt::commit_copies();
  simt::wait_copies<0>();
}
VOXOT_KERNEL void copy_only(const float* x) {
  VOXOT_SHARED(tile, simt::Vector<float, 4>[32]);
  simt::copy_async<16>(&tile[thread_index().x], x + 4 * thread_index().x);
  simt::commit_copies();
  simt::wait_copies<0>();
}
VOXOT_KERNEL void load_matrix_off_row(std::uint32_t* y) {
  VOXOT_SHARED(tile, simt::Vector<std::uint32_t, 4>[33]);
  tile[thread_index().x] = {};
  simt::sync_block();
  std::uint32_t r[4];
  simt::load_matrix_x4(r, reinterpret_cast<const std::byte*>(&tile[thread_index().x]) + 8);
  y[thread_index().x] = r[0];
}

template <class... P, class... A>
std::function<void()> plant(unsigned threads, std::size_t shared, void (*kernel)(P...), A... arguments) {
  return [=] { simt::launch({"planted", {1}, {threads}, shared}, kernel, arguments...); };
}

}  // namespace

std::vector<PlantedFault> planted_faults() {
  // Kept for the process: the faults run later.
  static const std::vector<float> ones(128, 1.0F);
  static Buffer<float> x{std::span<const float>(ones.data(), 100)};
  static Buffer<float> wide{std::span<const float>(ones)};
  static Buffer<float> y(1024);
  static Buffer<int> words(1024);
  static Buffer<float> raw(100);
  static Buffer<int> unset(16);
  static std::vector<float> host(16, 1.0F);
  const auto freed = [] {
    auto* gone = static_cast<float*>(simt::allocate(64));
    simt::clear({Device::cuda, nullptr}, gone, 64);
    simt::free(gone);
    simt::launch({"planted", {1}, {1}}, read_at, gone, std::int64_t{0}, y.data);
  };
  auto* u = reinterpret_cast<std::uint32_t*>(words.data);
  const float* null = nullptr;
  return {
      {"read past the end", "out of bounds, 0 bytes past the end of a device allocation of 400",
       plant(1, 0, read_at, x.data, 100, y.data)},
      {"write before the start", "bytes before a device allocation", plant(1, 0, write_at, x.data, -1)},
      {"vector read over the end", "out of bounds", plant(1, 0, read_vector_at, x.data, 100, y.data)},
      {"read after free", "out of bounds", freed},
      {"read of what nothing wrote", "nothing wrote it", plant(1, 0, read_at, raw.data, 5, y.data)},
      {"misaligned vector read", "misaligned", plant(1, 0, read_vector_at, x.data, 1, y.data)},
      {"host memory", "neither device memory nor shared", plant(1, 0, read_at, host.data(), 0, y.data)},
      {"null pointer", "neither device memory nor shared", plant(1, 0, read_at, null, 0, y.data)},
      {"static shared out of bounds", "out of bounds of shared memory", plant(1, 0, write_shared_at, 8)},
      {"dynamic shared out of bounds", "out of bounds of shared memory", plant(1, 64, write_dynamic_at, 16)},
      {"dynamic shared not asked for", "of which the launch gives none", plant(1, 0, write_dynamic_at, 0)},
      {"unwritten shared", "thread (7, 0, 0): read of 4 bytes", plant(32, 0, read_unwritten_shared, y.data)},
      {"misaligned shared", "misaligned", plant(1, 0, misaligned_shared, y.data)},
      {"race of writes", "a race with the write of thread (0, 0, 0)", plant(64, 0, race_of_writes)},
      {"race of write and read", "race", plant(64, 0, race_without_barrier, y.data)},
      {"race with the next round", "race", plant(64, 0, race_of_next_round, y.data)},
      {"race inside a warp", "race", plant(32, 0, race_in_warp, y.data)},
      {"race of atomic and plain", "race", plant(64, 0, race_with_atomic, words.data)},
      {"atomic past the end", "out of bounds, 0 bytes past the end",
       plant(1, 0, atomic_at, words.data, 1024)},
      {"atomic of what nothing wrote", "nothing wrote it", plant(1, 0, atomic_at, unset.data, 3)},
      {"atomic out of bounds of shared memory", "out of bounds of shared memory",
       plant(8, 0, atomic_shared_at, 8)},
      {"barrier that some never reach", "never reaches", plant(64, 0, leave_before_barrier)},
      {"different barriers", "wait at different barriers", plant(64, 0, part_ways)},
      {"shuffle with an ended lane", "lanes that never come",
       plant(32, 0, shuffle_with_ended_lane, words.data)},
      {"shuffle from outside its mask", "is not in mask",
       plant(32, 0, shuffle_from_outside_mask, words.data)},
      {"shuffle against barrier", "lanes that never come", plant(32, 0, shuffle_against_barrier, words.data)},
      {"too many threads", "blocks of 1025 threads", plant(1025, 0, nothing)},
      {"too much dynamic shared memory", "bytes of shared memory in a block", plant(32, 200 * 1024, nothing)},
      {"too much static shared memory", "bytes of static shared memory", plant(1, 0, large_static)},
      {"read before a copy lands", "asynchronous copy still fills",
       plant(32, 0, read_before_copy_lands, wide.data, y.data)},
      {"copy of another without a barrier", "race", plant(32, 0, read_copy_of_other, wide.data, y.data)},
      {"copy of another, landed, without a barrier", "race",
       plant(32, 0, read_landed_copy_of_other, wide.data, y.data)},
      {"wait for too few copies", "asynchronous copy still fills",
       plant(32, 0, wait_for_too_few, wide.data, y.data)},
      {"copy over what others read", "race", plant(32, 0, copy_over_readers, wide.data, y.data)},
      {"copy from out of bounds", "out of bounds", plant(32, 0, copy_only, x.data)},
      {"ldmatrix off its row", "misaligned", plant(32, 0, load_matrix_off_row, u)},
  };
}

// --- correct kernels
// ------------------------------------------------------------------------------------------------

namespace {

VOXOT_KERNEL void transpose(int n, const float* x, float* y) {
  VOXOT_SHARED(tile, float[32][33]);
  const auto t = thread_index();
  const int column = static_cast<int>(simt::block_index().x * 32 + t.x);
  const int row = static_cast<int>(simt::block_index().y * 32 + t.y);
  if (column < n && row < n) tile[t.y][t.x] = x[row * n + column];
  simt::sync_block();
  const int to_column = static_cast<int>(simt::block_index().y * 32 + t.x);
  const int to_row = static_cast<int>(simt::block_index().x * 32 + t.y);
  if (to_column < n && to_row < n) y[to_row * n + to_column] = tile[t.x][t.y];
}

VOXOT_KERNEL void block_sum(std::int64_t n, const float* x, float* y) {
  VOXOT_SHARED(partial, float[32]);
  float sum = 0;
  for (std::int64_t i = thread_index().x; i < n; i += simt::block_extent().x) sum += x[i];
  sum = simt::warp_sum(sum);
  if (simt::lane() == 0) partial[simt::warp()] = sum;
  simt::sync_block();
  if (simt::warp() == 0) {
    sum = simt::warp_sum(simt::lane() < simt::block_extent().x / 32 ? partial[simt::lane()] : 0.0F);
    if (simt::lane() == 0) y[0] = sum;
  }
}

VOXOT_KERNEL void histogram(std::int64_t n, const int* x, int count, int* y) {
  int* bins = simt::dynamic_shared<int>();
  for (int i = static_cast<int>(thread_index().x); i < count; i += static_cast<int>(simt::block_extent().x))
    bins[i] = 0;
  simt::sync_block();
  const std::int64_t i = simt::global_thread();
  if (i < n) simt::atomic_add(&bins[x[i]], 1);
  simt::sync_block();
  for (int b = static_cast<int>(thread_index().x); b < count; b += static_cast<int>(simt::block_extent().x)) {
    if (bins[b] != 0) simt::atomic_add(&y[b], bins[b]);
  }
}

constexpr int kStages = 3;

VOXOT_KERNEL void pipelined_copy(int rounds, std::int64_t n, const float* x, float* y) {
  using Quad = simt::Vector<float, 4>;
  VOXOT_SHARED(tile, Quad[kStages][64]);
  const int t = static_cast<int>(thread_index().x);
  const auto issue = [&](int round) {
    const std::int64_t i = (std::int64_t{round} * 64 + t) * 4;
    if (round < rounds) simt::copy_async<16>(&tile[round % kStages][t], x + i, i < n);
    simt::commit_copies();
  };
  for (int s = 0; s < kStages - 1; ++s) issue(s);
  for (int round = 0; round < rounds; ++round) {
    simt::wait_copies<kStages - 2>();
    simt::sync_block();
    issue(round + kStages - 1);
    const Quad q = tile[round % kStages][63 - t];
    const std::int64_t i = (std::int64_t{round} * 64 + 63 - t) * 4;
    for (int k = 0; k < 4; ++k) {
      if (i + k < n) y[i + k] = q.values[k];
    }
  }
}

VOXOT_KERNEL void neighbour_exchange(const float* x, float* y) {
  VOXOT_SHARED(tile, float[64]);
  const unsigned t = thread_index().x;
  tile[t] = x[t];
  simt::sync_warp();
  const float other = tile[t ^ 1U];
  // The halves of a warp go different ways, each with its own mask.
  const unsigned mask = t % 32 < 16 ? 0x0000FFFFU : 0xFFFF0000U;
  float result = 0;
  if (t % 32 < 16) {
    result = other + simt::shuffle_xor(other, 3, mask);
  } else {
    result = other - simt::shuffle_xor(other, 5, mask);
  }
  y[t] = result;
}

VOXOT_KERNEL void match(const unsigned* x, unsigned* y) {
  y[simt::lane()] = simt::match_any(x[simt::lane()]);
}

/// One warp: A in shared memory as 16 rows of k (or transposed, k rows of 16), B as 8 columns of k.
template <class T, bool Transposed>
VOXOT_KERNEL void mma_16(int k, const float* a, const float* b, float* d) {
  T* shared_a = simt::dynamic_shared<T>();
  T* shared_b = shared_a + 16 * k;
  for (int i = static_cast<int>(simt::lane()); i < 16 * k; i += 32) {
    const int row = i / k;
    const int column = i % k;
    shared_a[Transposed ? column * 16 + row : i] = T(a[i]);
    if (row < 8) shared_b[i] = T(b[i]);
  }
  simt::sync_block();
  const int lane = static_cast<int>(simt::lane());
  float sum[4] = {};
  for (int c = 0; c < k; c += 16) {
    std::uint32_t fa[4];
    std::uint32_t fb[4];
    const int row = lane % 16;
    const int column = lane / 16 * 8;
    if constexpr (Transposed) {
      const int m = lane / 8;  // matrices 0 and 1: rows 0 and 8 of A; 2 and 3: columns 8
      simt::load_matrix_x4_transposed(fa, &shared_a[(c + m / 2 * 8 + lane % 8) * 16 + m % 2 * 8]);
    } else {
      simt::load_matrix_x4(fa, &shared_a[row * k + c + column]);
    }
    simt::load_matrix_x4(fb, &shared_b[lane % 8 * k + c + lane / 8 % 2 * 8]);
    const std::uint32_t pair[2] = {fb[0], fb[1]};
    if constexpr (std::is_same_v<T, Bf16>) {
      simt::mma_bf16(sum, fa, pair);
    } else {
      simt::mma_f16(sum, fa, pair);
    }
  }
  for (int i = 0; i < 4; ++i) d[(lane / 4 + 8 * (i / 2)) * 8 + 2 * (lane % 4) + i % 2] = sum[i];
}

VOXOT_KERNEL void mma_8(int k, const float* a, const float* b, float* d) {
  const int lane = static_cast<int>(simt::lane());
  const int group = lane / 4;
  const int t = lane % 4;
  float sum[4] = {};
  for (int c = 0; c < k; c += 8) {
    std::uint32_t fa[4];
    std::uint32_t fb[2];
    for (int i = 0; i < 4; ++i) fa[i] = simt::tf32_bits(a[(group + 8 * (i % 2)) * k + c + t + 4 * (i / 2)]);
    for (int i = 0; i < 2; ++i) fb[i] = simt::tf32_bits(b[group * k + c + t + 4 * i]);
    simt::mma_tf32(sum, fa, fb);
  }
  for (int i = 0; i < 4; ++i) d[(lane / 4 + 8 * (i / 2)) * 8 + 2 * (lane % 4) + i % 2] = sum[i];
}

VOXOT_KERNEL void add_counter(std::int64_t n, const float* counter, float* x) {
  const std::int64_t i = simt::global_thread();
  if (i < n) x[i] += counter[0];
}
VOXOT_KERNEL void raise(float* counter) { counter[0] += 1; }

}  // namespace

std::vector<float> run_transpose(std::span<const float> matrix, int n) {
  const Buffer<float> x(matrix);
  const Buffer<float> y(matrix.size());
  const unsigned tiles = simt::blocks_for(n, 32);
  simt::launch({"transpose", {tiles, tiles}, {32, 32}}, transpose, n, x.data, y.data);
  return y.values();
}

float run_block_sum(std::span<const float> values) {
  const Buffer<float> x(values);
  const Buffer<float> y(1);
  simt::launch({"block_sum", {1}, {256}}, block_sum, static_cast<std::int64_t>(values.size()), x.data,
               y.data);
  return y.values()[0];
}

std::vector<int> run_histogram(std::span<const int> bins, int count) {
  const Buffer<int> x(bins);
  const Buffer<int> y(static_cast<std::size_t>(count));
  simt::clear({Device::cuda, nullptr}, y.data, y.size * sizeof(int));
  const auto n = static_cast<std::int64_t>(bins.size());
  simt::launch(
      {"histogram", {simt::blocks_for(n, 128)}, {128}, static_cast<std::size_t>(count) * sizeof(int)},
      histogram, n, x.data, count, y.data);
  return y.values();
}

std::vector<float> run_pipelined_copy(std::span<const float> values) {
  const Buffer<float> x(values);
  const Buffer<float> y(values.size());
  const auto n = static_cast<std::int64_t>(values.size());
  simt::launch({"pipelined_copy", {1}, {64}}, pipelined_copy, static_cast<int>((n + 255) / 256), n, x.data,
               y.data);
  return y.values();
}

std::vector<float> run_neighbour_exchange(std::span<const float> values) {
  const Buffer<float> x(values);
  const Buffer<float> y(values.size());
  simt::launch({"neighbour_exchange", {1}, {static_cast<unsigned>(values.size())}}, neighbour_exchange,
               x.data, y.data);
  return y.values();
}

std::vector<unsigned> run_match(std::span<const unsigned> words) {
  const Buffer<unsigned> x(words);
  const Buffer<unsigned> y(words.size());
  simt::launch({"match", {1}, {32}}, match, x.data, y.data);
  return y.values();
}

std::vector<float> run_mma(Mma kind, std::span<const float> a, std::span<const float> b, int k,
                           bool transposed) {
  const Buffer<float> x(a);
  const Buffer<float> y(b);
  const Buffer<float> d(16 * 8);
  const std::size_t shared = static_cast<std::size_t>(24 * k) * 2;
  const simt::Launch l{"mma", {1}, {32}, kind == Mma::tf32 ? 0 : shared};
  if (kind == Mma::tf32) {
    simt::launch(l, mma_8, k, x.data, y.data, d.data);
  } else if (kind == Mma::bf16) {
    simt::launch(l, transposed ? mma_16<Bf16, true> : mma_16<Bf16, false>, k, x.data, y.data, d.data);
  } else {
    simt::launch(l, transposed ? mma_16<F16, true> : mma_16<F16, false>, k, x.data, y.data, d.data);
  }
  return d.values();
}

void run_with_shared(std::size_t bytes) {
  simt::launch({"nothing", {1}, {32}, bytes}, nothing);
  simt::synchronize({Device::cuda, nullptr});
}

std::vector<float> run_graph(std::span<const float> values, int launches) {
  const Buffer<float> x(values);
  const Buffer<float> counter(1);
  Stream stream{Device::cuda, simt::create_stream()};
  simt::clear(stream, counter.data, sizeof(float));
  simt::synchronize(stream);
  simt::Graph::begin(stream);
  const auto n = static_cast<std::int64_t>(values.size());
  simt::launch({"raise", {1}, {1}, 0, stream}, raise, counter.data);
  simt::launch({"add_counter", {simt::blocks_for(n, 32)}, {32}, 0, stream}, add_counter, n, counter.data,
               x.data);
  const simt::Graph graph = simt::Graph::end(stream);
  for (int i = 0; i < launches; ++i) graph.launch(stream);
  simt::synchronize(stream);
  simt::destroy_stream(stream.handle);
  return x.values();
}

}  // namespace voxot::testing
