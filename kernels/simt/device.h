#pragma once
// simt.h on a real device: each function is the intrinsic or the PTX instruction of its name. Include simt.h.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

#define VOXOT_KERNEL __global__
#define VOXOT_DEVICE __device__ __forceinline__
#define VOXOT_LAUNCH_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define VOXOT_SHARED(name, ...) [[maybe_unused]] __shared__ std::type_identity_t<__VA_ARGS__> name
#define VOXOT_UNROLL _Pragma("unroll")

namespace voxot::simt {

VOXOT_DEVICE Dim3 thread_index() { return {threadIdx.x, threadIdx.y, threadIdx.z}; }
VOXOT_DEVICE Dim3 block_index() { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
VOXOT_DEVICE Dim3 block_extent() { return {blockDim.x, blockDim.y, blockDim.z}; }
VOXOT_DEVICE Dim3 grid_extent() { return {gridDim.x, gridDim.y, gridDim.z}; }

template <class T>
VOXOT_DEVICE T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char voxot_dynamic_shared[];
  return reinterpret_cast<T*>(voxot_dynamic_shared);
}

VOXOT_DEVICE void sync_block() { __syncthreads(); }
VOXOT_DEVICE void sync_warp(unsigned mask = 0xFFFFFFFFU) { __syncwarp(mask); }

template <class T>
VOXOT_DEVICE T shuffle(T value, int from, unsigned mask = 0xFFFFFFFFU) {
  return __shfl_sync(mask, value, from);
}
template <class T>
VOXOT_DEVICE T shuffle_xor(T value, int lanes, unsigned mask = 0xFFFFFFFFU) {
  return __shfl_xor_sync(mask, value, lanes);
}
template <class T>
VOXOT_DEVICE T shuffle_down(T value, unsigned delta, unsigned mask = 0xFFFFFFFFU) {
  return __shfl_down_sync(mask, value, delta);
}
VOXOT_DEVICE unsigned ballot(bool predicate, unsigned mask = 0xFFFFFFFFU) {
  return __ballot_sync(mask, predicate);
}
VOXOT_DEVICE bool any(bool predicate, unsigned mask = 0xFFFFFFFFU) { return __any_sync(mask, predicate); }
VOXOT_DEVICE bool all(bool predicate, unsigned mask = 0xFFFFFFFFU) { return __all_sync(mask, predicate); }
VOXOT_DEVICE unsigned match_any(std::uint32_t word, unsigned mask = 0xFFFFFFFFU) {
  return __match_any_sync(mask, word);
}

template <class T>
VOXOT_DEVICE T atomic_add(T* address, T value) {
  return atomicAdd(address, value);
}
VOXOT_DEVICE int atomic_max(int* address, int value) { return atomicMax(address, value); }
VOXOT_DEVICE std::uint32_t atomic_exchange(std::uint32_t* address, std::uint32_t value) {
  return atomicExch(address, value);
}
VOXOT_DEVICE std::uint32_t atomic_compare_exchange(std::uint32_t* address, std::uint32_t expected,
                                                   std::uint32_t value) {
  return atomicCAS(address, expected, value);
}

VOXOT_DEVICE std::uint16_t bf16_bits(float value) { return __bfloat16_as_ushort(__float2bfloat16_rn(value)); }
VOXOT_DEVICE float bits_float(std::uint32_t bits) { return __uint_as_float(bits); }
VOXOT_DEVICE std::uint32_t float_bits(float value) { return __float_as_uint(value); }
VOXOT_DEVICE std::uint16_t f16_bits(float value) { return __half_as_ushort(__float2half_rn(value)); }
VOXOT_DEVICE float f16_float(std::uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
/// The nearest number with ten bits of mantissa, ties away from zero, as mma_tf32 takes it.
VOXOT_DEVICE std::uint32_t tf32_bits(float value) {
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
}

VOXOT_DEVICE std::uint32_t shared_address(const void* shared) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
}

/// Bytes from `global`, or zeros when it is not valid, reach `shared` before wait_copies says so.
template <int Bytes>
VOXOT_DEVICE void copy_async(void* shared, const void* global, bool valid = true) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
  const int size = valid ? Bytes : 0;
  if constexpr (Bytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(size)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(shared)), "l"(global),
                 "n"(Bytes), "r"(size)
                 : "memory");
  }
}
VOXOT_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits until at most `Pending` of this thread's committed groups are on their way.
template <int Pending>
VOXOT_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

/// Lane l names the address of row l mod 8 of matrix l div 8 (16 bytes, aligned); register i receives of
/// matrix i the elements (l/4, 2·(l%4)) and (l/4, 2·(l%4) + 1).
VOXOT_DEVICE void load_matrix_x4(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
/// The same of the transposed matrices: elements (2·(l%4), l/4) and (2·(l%4) + 1, l/4).
VOXOT_DEVICE void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

/// d += a·b over 16×8×16; fragments as PTX lays them out.
VOXOT_DEVICE void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
VOXOT_DEVICE void mma_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// d += a·b over 16×8×8; the low 13 bits of every operand are ignored.
VOXOT_DEVICE void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // else the next launch would report it as its own
  fail("cuda: {}: {}", what, cudaGetErrorString(status));
}

/// Queues a kernel. Throws Error when the launch is refused.
template <class... P, class... A>
void launch(const Launch& l, void (*kernel)(P...), A&&... arguments) {
  if (l.shared_bytes > 48 * 1024) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(l.shared_bytes)),
          l.name);
  }
  nvtxRangePushA(l.name);
  kernel<<<dim3(l.grid.x, l.grid.y, l.grid.z), dim3(l.block.x, l.block.y, l.block.z), l.shared_bytes,
           static_cast<cudaStream_t>(l.stream.handle)>>>(static_cast<P>(std::forward<A>(arguments))...);
  const cudaError_t status = cudaGetLastError();
  nvtxRangePop();
  check(status, l.name);
}

}  // namespace voxot::simt
