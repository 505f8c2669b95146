#pragma once
// simt.h on the host: each thread of a block is a fiber, a block runs on one core, blocks spread over cores.
// Files that include this are compiled with -fsanitize=thread, whose hooks (memory_emulation.cpp) see
// every access of a kernel; a fault stops the launch with an Error that names kernel, block and thread.
// Caught are:
//   - accesses out of bounds, to host memory, misaligned
//   - reads of shared or global memory that nothing wrote, or that a cp.async still fills
//   - races on shared memory between barriers
//   - barriers and warp functions that not every thread reaches
//   - blocks with more threads or shared memory than the target has
// All functions are out of line, so that the hooks see kernels only. Include simt.h.
#include <bit>
#include <cmath>
#include <memory>
#include <source_location>
#include <tuple>
#include <utility>

#define VOXOT_KERNEL
#define VOXOT_DEVICE inline
#define VOXOT_LAUNCH_BOUNDS(threads, blocks)
#define VOXOT_SHARED(name, ...)                                                                          \
  struct name##_tag {};                                                                                  \
  auto& name = *static_cast<std::type_identity_t<__VA_ARGS__>*>(::voxot::simt::emulation::static_shared( \
      &::voxot::simt::emulation::key<name##_tag>, sizeof(__VA_ARGS__), alignof(__VA_ARGS__)))
#define VOXOT_UNROLL

namespace voxot::simt {

using Where = std::source_location;

namespace emulation {

/// What the emulated device offers; tests change it. The default is the least of sm_80, 86, 89 and 90.
struct Target {
  unsigned threads_per_block = 1024;
  std::size_t static_shared = 48 * 1024;
  std::size_t shared_per_block = 99 * 1024;
  std::size_t memory = std::size_t{8} << 30;
};
Target& target();

template <class Tag>
inline constexpr char key = 0;
void* static_shared(const char* key, std::size_t bytes, std::size_t alignment);
void* dynamic_shared();

std::uint64_t shuffle(std::uint64_t value, unsigned from, unsigned mask, const Where& where);
void copy_async(void* shared, const void* global, std::size_t bytes, bool valid);
void wait_copies(unsigned pending);
enum class AtomicOp : std::uint8_t { add, maximum, exchange, compare_exchange };
float atomic(AtomicOp op, float* address, float value);
double atomic(AtomicOp op, double* address, double value);
int atomic(AtomicOp op, int* address, int value);
std::uint32_t atomic(AtomicOp op, std::uint32_t* address, std::uint32_t value, std::uint32_t expected = 0);
unsigned long long atomic(AtomicOp op, unsigned long long* address, unsigned long long value);

/// A kernel with its arguments, which threads may read.
class Call {
 public:
  explicit Call(std::size_t bytes) : bytes_(bytes) {}
  virtual ~Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  virtual void run() const = 0;
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_;
};

template <class... P>
class CallOf final : public Call {
 public:
  template <class... A>
  explicit CallOf(void (*kernel)(P...), A&&... arguments)
      : Call(sizeof(CallOf)), kernel_(kernel), arguments_(std::forward<A>(arguments)...) {}
  void run() const override { std::apply(kernel_, arguments_); }

 private:
  void (*kernel_)(P...);
  std::tuple<std::decay_t<P>...> arguments_;
};

/// Runs the kernel, or records it while the stream is captured.
void launch(const Launch& l, std::unique_ptr<Call> call);

template <class T>
std::uint64_t to_word(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  if constexpr (sizeof(T) == 8) return std::bit_cast<std::uint64_t>(value);
  if constexpr (sizeof(T) == 4) return std::bit_cast<std::uint32_t>(value);
  if constexpr (sizeof(T) == 2) return std::bit_cast<std::uint16_t>(value);
}
template <class T>
T from_word(std::uint64_t word) {
  if constexpr (sizeof(T) == 8) return std::bit_cast<T>(word);
  if constexpr (sizeof(T) == 4) return std::bit_cast<T>(static_cast<std::uint32_t>(word));
  if constexpr (sizeof(T) == 2) return std::bit_cast<T>(static_cast<std::uint16_t>(word));
}

}  // namespace emulation

Dim3 thread_index();
Dim3 block_index();
Dim3 block_extent();
Dim3 grid_extent();

template <class T>
T* dynamic_shared() {
  return static_cast<T*>(emulation::dynamic_shared());
}

void sync_block(const Where& where = Where::current());
void sync_warp(unsigned mask = 0xFFFFFFFFU, const Where& where = Where::current());

unsigned linear_lane();
template <class T>
T shuffle(T value, int from, unsigned mask = 0xFFFFFFFFU, const Where& where = Where::current()) {
  return emulation::from_word<T>(
      emulation::shuffle(emulation::to_word(value), static_cast<unsigned>(from) % 32, mask, where));
}
template <class T>
T shuffle_xor(T value, int lanes, unsigned mask = 0xFFFFFFFFU, const Where& where = Where::current()) {
  return emulation::from_word<T>(emulation::shuffle(
      emulation::to_word(value), linear_lane() ^ static_cast<unsigned>(lanes), mask, where));
}
template <class T>
T shuffle_down(T value, unsigned delta, unsigned mask = 0xFFFFFFFFU, const Where& where = Where::current()) {
  const unsigned from = linear_lane() + delta;
  return emulation::from_word<T>(
      emulation::shuffle(emulation::to_word(value), from < 32 ? from : linear_lane(), mask, where));
}
unsigned ballot(bool predicate, unsigned mask = 0xFFFFFFFFU, const Where& where = Where::current());
unsigned match_any(std::uint32_t word, unsigned mask = 0xFFFFFFFFU, const Where& where = Where::current());
inline bool any(bool predicate, unsigned mask = 0xFFFFFFFFU, const Where& where = Where::current()) {
  return ballot(predicate, mask, where) != 0;
}
inline bool all(bool predicate, unsigned mask = 0xFFFFFFFFU, const Where& where = Where::current()) {
  return ballot(predicate, mask, where) == mask;
}

template <class T>
T atomic_add(T* address, T value) {
  return emulation::atomic(emulation::AtomicOp::add, address, value);
}
inline int atomic_max(int* address, int value) {
  return emulation::atomic(emulation::AtomicOp::maximum, address, value);
}
inline std::uint32_t atomic_exchange(std::uint32_t* address, std::uint32_t value) {
  return emulation::atomic(emulation::AtomicOp::exchange, address, value);
}
inline std::uint32_t atomic_compare_exchange(std::uint32_t* address, std::uint32_t expected,
                                             std::uint32_t value) {
  return emulation::atomic(emulation::AtomicOp::compare_exchange, address, value, expected);
}

inline float bits_float(std::uint32_t bits) { return std::bit_cast<float>(bits); }
inline std::uint32_t float_bits(float value) { return std::bit_cast<std::uint32_t>(value); }
inline std::uint16_t bf16_bits(float value) {
  const std::uint32_t word = float_bits(value);
  if (value != value) return 0x7FFF;
  return static_cast<std::uint16_t>((word + 0x7FFFU + ((word >> 16) & 1U)) >> 16);
}
std::uint16_t f16_bits(float value);
float f16_float(std::uint16_t bits);
inline std::uint32_t tf32_bits(float value) {
  const std::uint32_t word = float_bits(value);
  if ((word & 0x7F800000U) == 0x7F800000U) return word;
  return (word + 0x1000U) & 0xFFFFE000U;
}

template <int Bytes>
void copy_async(void* shared, const void* global, bool valid = true) {
  static_assert(Bytes == 4 || Bytes == 8 || Bytes == 16);
  emulation::copy_async(shared, global, Bytes, valid);
}
void commit_copies();
template <int Pending>
void wait_copies() {
  emulation::wait_copies(Pending);
}

void load_matrix_x4(std::uint32_t (&r)[4], const void* row, const Where& where = Where::current());
void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row, const Where& where = Where::current());
void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              const Where& where = Where::current());
void mma_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
             const Where& where = Where::current());
void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              const Where& where = Where::current());

template <class... P, class... A>
void launch(const Launch& l, void (*kernel)(P...), A&&... arguments) {
  emulation::launch(l, std::make_unique<emulation::CallOf<P...>>(kernel, std::forward<A>(arguments)...));
}

}  // namespace voxot::simt
