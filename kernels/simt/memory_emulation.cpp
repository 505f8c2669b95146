// The memories of the emulated device and the checks on every access to them.
//
// Kernels are compiled with -fsanitize=thread, which puts a call before each load and store; the functions it
// calls,
// __tsan_*, are defined here in place of that sanitizer's library, so nothing of it is linked. One byte of
// shadow for each byte of device memory says: not allocated, allocated, written. Each granule of shared
// memory remembers who wrote and who read it last, and in which interval between barriers.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "kernels/simt/emulation_state.h"
#include "kernels/sizes.h"

#if defined(VOXOT_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

extern "C" const char __executable_start;
extern "C" const char end;

namespace voxot::simt::emulation {
namespace {

enum Shadow : std::uint8_t { outside = 0, undefined = 1, written = 2 };

constexpr std::size_t kArenaBytes = std::size_t{1} << 36;
constexpr std::size_t kAlignment = 256;
constexpr std::size_t kGap = 256;

std::byte* reserve(std::size_t bytes) {
  void* memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  VOXOT_CHECK(memory != MAP_FAILED, "emulation: cannot reserve {} bytes of addresses", bytes);
  return static_cast<std::byte*>(memory);
}

void poison([[maybe_unused]] const void* block, [[maybe_unused]] std::size_t bytes,
            [[maybe_unused]] bool on) {
#if defined(VOXOT_ADDRESS_SANITIZER)
  if (on) {
    __asan_poison_memory_region(block, bytes);
  } else {
    __asan_unpoison_memory_region(block, bytes);
  }
#endif
}

/// All device memory: one range of addresses, its shadow, and the table of what is allocated.
class Arena {
 public:
  Arena() : base_(reserve(kArenaBytes)), shadow_(reinterpret_cast<std::uint8_t*>(reserve(kArenaBytes))) {}

  [[nodiscard]] bool holds(const void* address) const {
    return static_cast<const std::byte*>(address) >= base_ &&
           static_cast<const std::byte*>(address) < base_ + kArenaBytes;
  }
  [[nodiscard]] std::uint8_t* shadow(const void* address) const {
    return shadow_ + (static_cast<const std::byte*>(address) - base_);
  }

  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const std::size_t size =
        (std::max<std::size_t>(bytes, 1) + kGap + kAlignment - 1) / kAlignment * kAlignment;
    if (in_use_ + size > target().memory) return nullptr;
    std::size_t offset = top_;
    auto& list = free_[size];
    if (!list.empty()) {
      offset = list.back();
      list.pop_back();
    } else {
      if (top_ + size > kArenaBytes) return nullptr;
      top_ += size;
    }
    in_use_ += size;
    blocks_[offset] = {bytes, size};
    std::memset(shadow_ + offset, undefined, bytes);
    poison(base_ + offset, bytes, false);
    poison(base_ + offset + bytes, size - bytes, true);
    return base_ + offset;
  }

  void free(void* block) {
    const std::lock_guard lock(mutex_);
    const std::size_t offset = to_size(static_cast<std::byte*>(block) - base_);
    const auto found = holds(block) ? blocks_.find(offset) : blocks_.end();
    VOXOT_CHECK(found != blocks_.end(), "cuda: free: {} is not the start of a device allocation", block);
    const auto [bytes, size] = found->second;
    std::memset(shadow_ + offset, outside, size);
    poison(base_ + offset, size, true);
    in_use_ -= size;
    free_[size].push_back(offset);
    blocks_.erase(found);
  }

  void recycle(void* block, std::size_t bytes, std::size_t capacity) {
    const std::lock_guard lock(mutex_);
    std::memset(shadow(block), undefined, bytes);
    std::memset(shadow(block) + bytes, outside, capacity - bytes);
    poison(block, bytes, false);
    poison(static_cast<std::byte*>(block) + bytes, capacity - bytes, true);
  }

  /// "16 bytes past the end of an allocation of 1000 bytes"
  std::string describe(const void* address) {
    const std::lock_guard lock(mutex_);
    const std::size_t offset = to_size(static_cast<const std::byte*>(address) - base_);
    const auto after = blocks_.upper_bound(offset);
    const std::size_t ahead = after == blocks_.end() ? kArenaBytes : after->first - offset;
    if (after != blocks_.begin()) {
      const auto& [start, block] = *std::prev(after);
      const std::size_t into = offset - start;
      if (into < block.bytes)
        return fmt::format("at offset {} of a device allocation of {} bytes", into, block.bytes);
      if (into - block.bytes <= ahead) {
        return fmt::format("{} bytes past the end of a device allocation of {} bytes", into - block.bytes,
                           block.bytes);
      }
    }
    if (after == blocks_.end()) return "in no device allocation";
    return fmt::format("{} bytes before a device allocation of {} bytes", ahead, after->second.bytes);
  }

 private:
  struct Block {
    std::size_t bytes;
    std::size_t size;  // with the gap
  };
  std::byte* base_;
  std::uint8_t* shadow_;
  std::mutex mutex_;
  std::map<std::size_t, Block> blocks_;
  std::map<std::size_t, std::vector<std::size_t>> free_;
  std::size_t top_ = kAlignment;
  std::size_t in_use_ = 0;
};

Arena& arena() {
  static Arena& arena = *new Arena;  // outlives every static that frees device memory
  return arena;
}

struct Access {
  const std::byte* address;
  std::size_t bytes;
  bool write;
  bool atomic;
  const void* pc;

  [[nodiscard]] std::string text() const {
    return fmt::format("{} of {} bytes{}", atomic ? "atomic" : write ? "write" : "read", bytes, place());
  }
  /// Where in the source, as far as the sanitizer's library can tell.
  [[nodiscard]] std::string place() const {
#if defined(VOXOT_ADDRESS_SANITIZER)
    char line[256] = "";
    __sanitizer_symbolize_pc(const_cast<void*>(pc), "%s:%l", line, sizeof line);
    const std::string where = line;
    if (!where.empty() && where[0] != '<') return " at " + where.substr(where.rfind('/') + 1);
#endif
    return {};
  }
};

/// N bytes of shadow that all say `written`.
template <class Word>
bool all_written(const std::uint8_t* shadow) {
  Word word;
  std::memcpy(&word, shadow, sizeof word);
  return word == static_cast<Word>(0x0202020202020202U);
}

void check_global(const Access& a) {
  std::uint8_t* shadow = arena().shadow(a.address);
  if (a.bytes == 4 && all_written<std::uint32_t>(shadow)) return;  // nearly always
  if (a.bytes == 16 && all_written<std::uint64_t>(shadow) && all_written<std::uint64_t>(shadow + 8)) return;
  for (std::size_t i = 0; i < a.bytes; ++i) {
    if (shadow[i] == outside) {
      fault(fmt::format("{}: out of bounds, {}", a.text(), arena().describe(a.address + i)));
    }
    if ((!a.write || a.atomic) && shadow[i] != written) {
      fault(fmt::format("{}: nothing wrote it, {}", a.text(), arena().describe(a.address + i)));
    }
  }
  if (a.write) std::memset(shadow, written, a.bytes);
}

/// The order of two accesses to one byte of shared memory within a block.
struct SharedCheck {
  BlockState& b;
  const Access& a;
  std::uint16_t me;
  std::uint32_t warp_epoch;

  [[nodiscard]] bool ordered(std::uint16_t other, std::uint32_t epoch, std::uint32_t other_warp_epoch) const {
    return epoch < b.epoch || other == me || (other / kWarp == me / kWarp && other_warp_epoch < warp_epoch);
  }

  [[nodiscard]] bool readers_ordered(const SharedGranule& s) const {
    if (s.read_epoch < b.epoch) return true;
    if (s.readers == SharedGranule::one) return ordered(s.reader, s.read_epoch, s.read_warp_epoch);
    return s.readers == SharedGranule::one_warp && s.reader / kWarp == me / kWarp &&
           s.read_warp_epoch < warp_epoch;
  }

  [[noreturn]] void race(const char* kind, std::uint16_t other) const {
    if (other == kSeveral) other = 0;  // any will do
    const Dim3 t = b.fibers[other].thread;
    fault(fmt::format("{} to shared memory at offset {}: a race with the {} of thread ({}, {}, {})", a.text(),
                      a.address - b.shared, kind, t.x, t.y, t.z));
  }

  void operator()(SharedGranule& s) const {
    if (!s.allocated) {
      fault(fmt::format("{}: out of bounds of shared memory, at offset {} of {} bytes", a.text(),
                        a.address - b.shared, b.shared_asked));
    }
    const bool was_written = s.write_epoch >= b.first_epoch;
    if (s.in_flight && (!a.write || s.writer != me)) {
      fault(fmt::format("{} to shared memory at offset {}, which an asynchronous copy still fills", a.text(),
                        a.address - b.shared));
    }
    if ((!a.write || a.atomic) && !was_written && s.atomic_epoch < b.first_epoch) {
      fault(fmt::format("{} from shared memory at offset {}: nothing wrote it", a.text(),
                        a.address - b.shared));
    }
    if (was_written && !ordered(s.writer, s.write_epoch, s.write_warp_epoch)) race("write", s.writer);
    if (!a.atomic && s.atomic_epoch == b.epoch && s.atomic_thread != me) race("atomic", s.atomic_thread);
    if (a.write) {
      if (!readers_ordered(s)) race("read", s.reader);
      if (a.atomic) {
        s.atomic_thread = s.atomic_epoch == b.epoch && s.atomic_thread != me ? kSeveral : me;
        s.atomic_epoch = b.epoch;
        return;
      }
      s.write_epoch = b.epoch;
      s.write_warp_epoch = warp_epoch;
      s.writer = me;
      return;
    }
    if (readers_ordered(s)) {  // who is ordered after this read is after theirs as well
      s.readers = SharedGranule::one;
    } else if (s.reader != me) {
      const bool same = s.reader / kWarp == me / kWarp && s.readers != SharedGranule::several_warps;
      s.readers = same ? SharedGranule::one_warp : SharedGranule::several_warps;
    }
    s.read_epoch = b.epoch;
    s.read_warp_epoch = warp_epoch;
    s.reader = me;
  }
};

void check_shared(BlockState& b, const Access& a) {
  const Fiber& f = *b.current;
  const SharedCheck check{b, a, static_cast<std::uint16_t>(f.index), b.warps[f.index / kWarp].epoch};
  const std::size_t first = to_size(a.address - b.shared);
  for (std::size_t i = first / kGranule; i * kGranule < first + a.bytes; ++i) check(b.shadow[i]);
}

bool within(const void* address, std::size_t bytes, const void* start, std::size_t size) {
  const auto a = reinterpret_cast<std::uintptr_t>(address);
  const auto s = reinterpret_cast<std::uintptr_t>(start);
  return a >= s && a + bytes <= s + size;
}

}  // namespace

void check_access(const void* address, std::size_t bytes, bool write, bool atomic, bool aligned,
                  const void* pc) {
  BlockState& b = block_state();
  const Access a{static_cast<const std::byte*>(address), bytes, write, atomic, pc};
  const bool shared = within(address, 1, b.shared, kSharedBytes);
  const bool device = !shared && arena().holds(address);
  if (shared || device) {
    if (aligned && reinterpret_cast<std::uintptr_t>(address) % bytes != 0) {
      fault(fmt::format("{}: misaligned, {} bytes off", a.text(),
                        reinterpret_cast<std::uintptr_t>(address) % bytes));
    }
    return shared ? check_shared(b, a) : check_global(a);
  }
  if (within(address, bytes, b.current->stack, kStackBytes)) return;
  // Constants of the program, and the launch's own arguments.
  if (!write && within(address, bytes, &__executable_start, to_size(&end - &__executable_start))) return;
  if (!write && within(address, bytes, b.run->call, b.run->call->bytes())) return;
  fault(fmt::format("{}: {} is neither device memory nor shared memory", a.text(), address));
}

void mark_in_flight(const void* shared, std::size_t bytes, bool in_flight) {
  BlockState& b = block_state();
  const std::size_t first = to_size(static_cast<const std::byte*>(shared) - b.shared);
  for (std::size_t i = first / kGranule; i * kGranule < first + bytes; ++i) b.shadow[i].in_flight = in_flight;
}

std::byte* allocate_shared(BlockState& b, std::size_t bytes, std::size_t alignment) {
  const std::size_t start = (b.shared_used + alignment - 1) / alignment * alignment;
  b.shared_asked += bytes;
  if (b.shared_asked > target().shared_per_block || start + bytes + kSharedGap > kSharedBytes) {
    fault(fmt::format("{} bytes of shared memory in a block; the target has {}", b.shared_asked,
                      target().shared_per_block));
  }
  for (std::size_t i = start / kGranule; i * kGranule < start + bytes; ++i) b.shadow[i].allocated = true;
  b.shared_used = start + bytes + kSharedGap;
  return b.shared + start;
}

void clear_shared(BlockState& b) {
  if (b.shared == nullptr) {
    b.shared = static_cast<std::byte*>(std::aligned_alloc(kSharedAlignment, kSharedBytes));
    b.shadow.resize(kSharedBytes);
  }
  for (std::size_t i = 0; i < std::min(b.shared_used, kSharedBytes); ++i) {
    b.shadow[i].allocated = b.shadow[i].in_flight = false;
  }
  b.shared_used = b.shared_asked = 0;
  b.statics.clear();
  b.first_epoch = ++b.epoch;
}

void* allocate_device(std::size_t bytes) { return arena().allocate(bytes); }
bool device_holds(const void* address) { return arena().holds(address); }
void free_device(void* block) {
  if (block != nullptr) arena().free(block);
}
void recycle_device(void* block, std::size_t bytes, std::size_t capacity) {
  arena().recycle(block, bytes, capacity);
}

namespace {
void check_host(const char* what, const void* address, std::size_t bytes) {
  if (!arena().holds(address)) return;
  const std::uint8_t* shadow = arena().shadow(address);
  for (std::size_t i = 0; i < bytes; ++i) {
    VOXOT_CHECK(shadow[i] != outside, "cuda: {} of {} bytes: out of bounds, {}", what, bytes,
                arena().describe(static_cast<const std::byte*>(address) + i));
  }
}
}  // namespace

void copy_memory(void* to, const void* from, std::size_t bytes) {
  check_host("copy", to, bytes);
  check_host("copy", from, bytes);
  std::memmove(to, from, bytes);
  if (!arena().holds(to)) return;
  if (arena().holds(from)) {
    std::memmove(arena().shadow(to), arena().shadow(from), bytes);
  } else {
    std::memset(arena().shadow(to), written, bytes);
  }
}

void read_memory(const char* reader, void* to, const void* from, std::size_t bytes) {
  check_host(reader, from, bytes);
  VOXOT_CHECK(arena().holds(from), "cuda: {} reads host memory", reader);
  const std::uint8_t* const shadow = arena().shadow(from);
  const std::uint8_t* const bad = std::find(shadow, shadow + bytes, undefined);
  VOXOT_CHECK(bad == shadow + bytes, "cuda: {} reads what nothing wrote, {}", reader,
              arena().describe(static_cast<const std::byte*>(from) + (bad - shadow)));
  std::memcpy(to, from, bytes);
}

void clear_memory(void* block, std::size_t bytes) {
  check_host("clear", block, bytes);
  std::memset(block, 0, bytes);
  if (arena().holds(block)) std::memset(arena().shadow(block), written, bytes);
}

}  // namespace voxot::simt::emulation

namespace {
void hook(const void* address, std::size_t bytes, bool write, bool aligned, const void* pc) {
  auto* b = voxot::simt::emulation::running;
  if (b == nullptr || b->quiet) return;
  const voxot::simt::emulation::Quiet quiet(*b);
  voxot::simt::emulation::check_access(address, bytes, write, false, aligned, pc);
}
}  // namespace

// What -fsanitize=thread calls.
#define VOXOT_HOOK(size)                                                                                  \
  void __tsan_read##size(void* p) { hook(p, size, false, true, __builtin_return_address(0)); }            \
  void __tsan_write##size(void* p) { hook(p, size, true, true, __builtin_return_address(0)); }            \
  void __tsan_unaligned_read##size(void* p) { hook(p, size, false, false, __builtin_return_address(0)); } \
  void __tsan_unaligned_write##size(void* p) { hook(p, size, true, false, __builtin_return_address(0)); }

extern "C" {
VOXOT_HOOK(1)
VOXOT_HOOK(2)
VOXOT_HOOK(4)
VOXOT_HOOK(8)
VOXOT_HOOK(16)
void __tsan_read_range(void* p, std::size_t bytes) {
  hook(p, bytes, false, false, __builtin_return_address(0));
}
void __tsan_write_range(void* p, std::size_t bytes) {
  hook(p, bytes, true, false, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}
// The guards of static variables in the launchers.
unsigned char __tsan_atomic8_load(const volatile unsigned char* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
}
