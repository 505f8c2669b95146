// Atomics, asynchronous copies, ldmatrix and mma.sync of the emulation, with the fragment layouts of the PTX
// ISA (sections "Matrix Fragments for mma.m16n8k16", "... for mma.m16n8k8" and "ldmatrix").
#include <bit>
#include <cstring>

#include "kernels/simt/emulation_state.h"

namespace voxot::simt {
namespace emulation {
namespace {

std::mutex& atomic_mutex(const void* address) {
  static std::mutex mutexes[64];
  return mutexes[reinterpret_cast<std::uintptr_t>(address) / 8 % 64];
}

/// Old value; `update` gives the new one.
template <class T, class Update>
T update_atomically(T* address, Update update) {
  const Quiet quiet(block_state());
  check_access(address, sizeof(T), true, true, true, __builtin_return_address(0));
  const std::lock_guard lock(atomic_mutex(address));
  const T before = *address;
  *address = update(before);
  return before;
}

template <class T>
T apply(AtomicOp op, T* address, T value, T expected = {}) {
  return update_atomically(address, [=](T before) {
    switch (op) {
      case AtomicOp::add:
        return static_cast<T>(before + value);
      case AtomicOp::maximum:
        return before < value ? value : before;
      case AtomicOp::exchange:
        return value;
      case AtomicOp::compare_exchange:
        return before == expected ? value : before;
    }
    return before;
  });
}

}  // namespace

float atomic(AtomicOp op, float* address, float value) { return apply(op, address, value); }
double atomic(AtomicOp op, double* address, double value) { return apply(op, address, value); }
int atomic(AtomicOp op, int* address, int value) { return apply(op, address, value); }
std::uint32_t atomic(AtomicOp op, std::uint32_t* address, std::uint32_t value, std::uint32_t expected) {
  return apply(op, address, value, expected);
}
unsigned long long atomic(AtomicOp op, unsigned long long* address, unsigned long long value) {
  return apply(op, address, value);
}

void copy_async(void* shared, const void* global, std::size_t bytes, bool valid) {
  const void* pc = __builtin_return_address(0);
  const Quiet quiet(block_state());
  Fiber& f = *block_state().current;
  if (valid) check_access(global, bytes, false, false, true, pc);
  check_access(shared, bytes, true, false, true, pc);
  mark_in_flight(shared, bytes, true);
  f.open_copies.push_back(
      {static_cast<std::byte*>(shared), valid ? static_cast<const std::byte*>(global) : nullptr, bytes});
}

void wait_copies(unsigned pending) {
  const Quiet quiet(block_state());
  Fiber& f = *block_state().current;
  auto& groups = f.committed_copies;
  while (groups.size() > pending) {
    for (const PendingCopy& c : groups.front()) {
      if (c.from == nullptr) {
        std::memset(c.to, 0, c.bytes);
      } else {
        std::memcpy(c.to, c.from, c.bytes);
      }
      check_access(c.to, c.bytes, true, false, true, nullptr);
      mark_in_flight(c.to, c.bytes, false);
    }
    groups.erase(groups.begin());
  }
}

namespace {

struct Rows {
  const void* row;
  std::uint32_t* registers;
  bool transposed;
};

void load_matrices(void* const* all, unsigned) {
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    auto* mine = static_cast<Rows*>(all[lane]);
    for (unsigned m = 0; m < 4; ++m) {
      std::uint16_t pair[2];
      for (unsigned e = 0; e < 2; ++e) {
        const unsigned row = mine->transposed ? 2 * (lane % 4) + e : lane / 4;
        const unsigned column = mine->transposed ? lane / 4 : 2 * (lane % 4) + e;
        const void* from = static_cast<Rows*>(all[8 * m + row])->row;
        std::memcpy(&pair[e], static_cast<const std::byte*>(from) + 2 * column, 2);
      }
      mine->registers[m] = pair[0] | static_cast<std::uint32_t>(pair[1]) << 16;
    }
  }
}

void load_matrix(std::uint32_t (&r)[4], const void* row, bool transposed, const Where& where) {
  {
    const Quiet quiet(block_state());
    check_access(row, 16, false, false, true, __builtin_return_address(0));
  }
  Rows mine{row, r, transposed};
  meet(transposed ? "load_matrix_x4_transposed" : "load_matrix_x4", kAllLanes, where, &mine, load_matrices);
}

struct Product {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

template <float (*Decode)(std::uint16_t)>
float half_of(std::uint32_t pair, unsigned which) {
  return Decode(static_cast<std::uint16_t>(pair >> (16 * which)));
}

/// m16n8k16: lane = 4·group + t. a[i] holds row group + 8·(i%2), columns 2t + 8·(i/2) and the next; b[i] rows
/// 2t + 8i and the next of column group; d[i] row group + 8·(i/2), column 2t + i%2.
template <float (*Decode)(std::uint16_t)>
void multiply_16(void* const* all, unsigned) {
  float a[16][16];
  float b[16][8];
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    const auto* p = static_cast<Product*>(all[lane]);
    const unsigned group = lane / 4;
    const unsigned t = lane % 4;
    for (unsigned e = 0; e < 2; ++e) {
      for (unsigned i = 0; i < 4; ++i)
        a[group + 8 * (i % 2)][2 * t + 8 * (i / 2) + e] = half_of<Decode>(p->a[i], e);
      for (unsigned i = 0; i < 2; ++i) b[2 * t + 8 * i + e][group] = half_of<Decode>(p->b[i], e);
    }
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    auto* p = static_cast<Product*>(all[lane]);
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = lane / 4 + 8 * (i / 2);
      const unsigned column = 2 * (lane % 4) + i % 2;
      float sum = 0;
      for (unsigned k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      p->d[i] += sum;
    }
  }
}

float tf32(std::uint32_t bits) { return std::bit_cast<float>(bits & 0xFFFFE000U); }

/// m16n8k8: a[i] holds row group + 8·(i%2), column t + 4·(i/2); b[i] row t + 4i, column group.
void multiply_8(void* const* all, unsigned) {
  float a[16][8];
  float b[8][8];
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    const auto* p = static_cast<Product*>(all[lane]);
    const unsigned group = lane / 4;
    const unsigned t = lane % 4;
    for (unsigned i = 0; i < 4; ++i) a[group + 8 * (i % 2)][t + 4 * (i / 2)] = tf32(p->a[i]);
    for (unsigned i = 0; i < 2; ++i) b[t + 4 * i][group] = tf32(p->b[i]);
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    auto* p = static_cast<Product*>(all[lane]);
    for (unsigned i = 0; i < 4; ++i) {
      float sum = 0;
      for (unsigned k = 0; k < 8; ++k) sum += a[lane / 4 + 8 * (i / 2)][k] * b[k][2 * (lane % 4) + i % 2];
      p->d[i] += sum;
    }
  }
}

float decode_bf16(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
float decode_f16(std::uint16_t bits) { return static_cast<float>(std::bit_cast<_Float16>(bits)); }

void multiply(const char* name, float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
              const Where& where, Execute execute) {
  Product mine{d, a, b};
  meet(name, kAllLanes, where, &mine, execute);
}

}  // namespace
}  // namespace emulation

std::uint16_t f16_bits(float value) { return std::bit_cast<std::uint16_t>(static_cast<_Float16>(value)); }
float f16_float(std::uint16_t bits) { return emulation::decode_f16(bits); }

void commit_copies() {
  const emulation::Quiet quiet(emulation::block_state());
  emulation::Fiber& f = *emulation::block_state().current;
  f.committed_copies.push_back(std::move(f.open_copies));
  f.open_copies.clear();
}

void load_matrix_x4(std::uint32_t (&r)[4], const void* row, const Where& where) {
  emulation::load_matrix(r, row, false, where);
}
void load_matrix_x4_transposed(std::uint32_t (&r)[4], const void* row, const Where& where) {
  emulation::load_matrix(r, row, true, where);
}
void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], const Where& where) {
  emulation::multiply("mma_bf16", d, a, b, where, emulation::multiply_16<emulation::decode_bf16>);
}
void mma_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], const Where& where) {
  emulation::multiply("mma_f16", d, a, b, where, emulation::multiply_16<emulation::decode_f16>);
}
void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], const Where& where) {
  emulation::multiply("mma_tf32", d, a, b, where, emulation::multiply_8);
}

}  // namespace voxot::simt
