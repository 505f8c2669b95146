#pragma once
// Everything that a kernel may use of a CUDA device, and nothing else of CUDA is used anywhere. The same .cu
// files compile with nvcc (device.h) and with the host's compiler (emulation.h), where each thread
// of a block is a fiber and every access is checked. Names follow the CUDA C++ Programming Guide and the PTX
// ISA.
//
//   VOXOT_KERNEL void scale(std::int64_t n, float a, const float* x, float* y) {
//     const std::int64_t i = simt::global_thread();
//     if (i < n) y[i] = a * x[i];
//   }
//   simt::launch({"scale", simt::blocks_for(n, 256), 256, 0, stream}, scale, n, a, x, y);
//
// In a kernel:
//   VOXOT_KERNEL, VOXOT_DEVICE              a kernel, a function that kernels call
//   VOXOT_LAUNCH_BOUNDS(threads, blocks)    after VOXOT_KERNEL: a block's threads, a multiprocessor's blocks
//   VOXOT_SHARED(name, Type);               static shared memory: VOXOT_SHARED(tile, float[32][33]);
//   dynamic_shared<T>()                     the launch's dynamic shared memory, aligned to 128 bytes
//   thread_index() block_index() block_extent() grid_extent() lane() warp() global_thread() global_threads()
//   sync_block() sync_warp(mask)
//   shuffle(v, lane) shuffle_xor(v, mask) shuffle_down(v, delta) ballot(p) any(p) all(p) match_any(word)
//   atomic_add atomic_max atomic_exchange atomic_compare_exchange
//   copy_async<Bytes>(shared, global, valid) commit_copies() wait_copies<N>()   cp.async; 4, 8 or 16 bytes
//   load_matrix_x4(registers, row) load_matrix_x4_transposed(registers, row)    ldmatrix, 8×8 of 16 bits
//   mma_bf16 mma_f16 (m16n8k16), mma_tf32 (m16n8k8)         d += a·b, row·col, fp32 accumulators
// Warp functions take every lane of the warp unless a mask says otherwise.
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/device.h"

namespace voxot::simt {

struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
};

/// How a kernel is launched. `shared_bytes` is dynamic shared memory.
struct Launch {
  const char* name;  // in errors and profiles
  Dim3 grid;
  Dim3 block;
  std::size_t shared_bytes = 0;
  Stream stream{Device::cuda, nullptr};
};

/// N values that move as one access.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T values[N];
};

}  // namespace voxot::simt

#if defined(__CUDACC__)
#include "kernels/simt/device.h"
#else
#include "kernels/simt/emulation.h"
#endif

namespace voxot::simt {

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;

/// The upper half of an fp32, rounded to nearest even.
struct Bf16 {
  std::uint16_t bits;

  Bf16() = default;
  VOXOT_DEVICE explicit Bf16(float value) : bits(bf16_bits(value)) {}
  VOXOT_DEVICE operator float() const { return bits_float(static_cast<std::uint32_t>(bits) << 16); }
};

/// IEEE half precision.
struct F16 {
  std::uint16_t bits;

  F16() = default;
  VOXOT_DEVICE explicit F16(float value) : bits(f16_bits(value)) {}
  VOXOT_DEVICE operator float() const { return f16_float(bits); }
};

VOXOT_DEVICE std::int64_t global_thread() {
  return static_cast<std::int64_t>(block_index().x) * block_extent().x + thread_index().x;
}
/// Threads of the grid's x axis: the stride of a loop over more elements than threads.
VOXOT_DEVICE std::int64_t global_threads() {
  return static_cast<std::int64_t>(grid_extent().x) * block_extent().x;
}
VOXOT_DEVICE unsigned lane() { return thread_index().x % kWarp; }
VOXOT_DEVICE unsigned warp() { return thread_index().x / kWarp; }

/// Sum over a warp, in every lane, in the same order whatever the launch.
template <class T>
VOXOT_DEVICE T warp_sum(T value) {
  for (int offset = 16; offset > 0; offset /= 2) value += shuffle_xor(value, offset);
  return value;
}
template <class T>
VOXOT_DEVICE T warp_max(T value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const T other = shuffle_xor(value, offset);
    value = value < other ? other : value;
  }
  return value;
}

/// Blocks that cover `count` with `size` each; throws Error when a grid's x axis cannot hold them.
inline unsigned blocks_for(std::int64_t count, std::int64_t size) {
  const std::int64_t blocks = (count + size - 1) / size;
  VOXOT_CHECK(blocks <= 0x7FFFFFFF, "launch: {} blocks exceed a grid", blocks);
  return static_cast<unsigned>(blocks);
}

}  // namespace voxot::simt
