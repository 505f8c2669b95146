#pragma once
// What the parts of the emulation share: the block that a core runs now, its fibers, and the two memories.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <source_location>
#include <string>
#include <vector>

#include "kernels/simt/simt.h"

namespace voxot::simt::emulation {

/// A copy that cp.async has promised.
struct PendingCopy {
  std::byte* to;
  const std::byte* from;  // null: zeros
  std::size_t bytes;
};

enum class State : std::uint8_t { ready, at_barrier, in_warp_function, done };

struct Fiber {
  void* context = nullptr;
  void* stack = nullptr;  // lowest address
  void* fake_stack = nullptr;
  State state = State::ready;
  unsigned index = 0;  // linear in the block
  Dim3 thread{};
  std::source_location where{};
  std::vector<PendingCopy> open_copies;                    // not committed yet
  std::vector<std::vector<PendingCopy>> committed_copies;  // oldest first
};

/// Lanes of one warp that meet in a warp function; each leaves its own arguments.
struct Meeting {
  unsigned mask;
  unsigned arrived;
  const char* name;
  std::source_location where;
  void* arguments[32];
};
using Execute = void (*)(void* const* arguments, unsigned mask);

struct WarpState {
  std::vector<Meeting> meetings;
  std::uint32_t epoch = 1;  // rises at every sync_warp
};

/// One launch over all its blocks; cores take blocks from `next`.
struct Run {
  const Launch* launch;
  const Call* call;
  std::atomic<std::uint64_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::string fault;
};

inline constexpr std::uint16_t kSeveral = 0xFFFF;

/// Shared memory is watched in granules of two bytes, the least that a kernel stores there.
inline constexpr std::size_t kGranule = 2;

/// Last accesses to one granule.
struct SharedGranule {
  std::uint32_t write_epoch = 0;  // block epoch of the last write; below the block's first: nothing wrote it
  std::uint32_t write_warp_epoch = 0;
  std::uint32_t read_epoch = 0;
  std::uint32_t read_warp_epoch = 0;
  std::uint32_t atomic_epoch = 0;
  std::uint16_t writer = 0;
  std::uint16_t reader = 0;
  std::uint16_t atomic_thread = 0;  // of the last atomic access, or kSeveral
  enum Readers : std::uint8_t { one, one_warp, several_warps } readers = one;
  bool allocated = false;
  bool in_flight = false;  // a cp.async has been issued and not waited for
};

/// The block that this core runs.
struct BlockState {
  Run* run = nullptr;
  Fiber* current = nullptr;
  bool quiet = false;  // the emulation itself is at work: its own accesses are not the kernel's
  Dim3 block{};
  unsigned threads = 0;
  void* scheduler = nullptr;
  const void* scheduler_stack = nullptr;
  std::size_t scheduler_stack_bytes = 0;
  void* scheduler_fake_stack = nullptr;
  std::vector<Fiber> fibers;
  std::vector<WarpState> warps;
  // Shared memory: the dynamic part, then static variables as threads meet them, each with a gap after it.
  std::byte* shared = nullptr;  // kSharedBytes, aligned to kSharedAlignment
  std::vector<SharedGranule> shadow;
  std::size_t shared_used = 0;   // with gaps
  std::size_t shared_asked = 0;  // without
  struct Static {
    const char* key;
    std::size_t offset;
  };
  std::vector<Static> statics;
  std::uint32_t epoch = 1;        // rises at every barrier
  std::uint32_t first_epoch = 1;  // of this block
};

inline constexpr std::size_t kStackBytes = std::size_t{1} << 18;
inline constexpr std::size_t kSharedGap = 64;
inline constexpr std::size_t kSharedAlignment = 1024;
inline constexpr std::size_t kSharedBytes = std::size_t{1} << 18;

/// This core's block; its `current` is null outside kernels.
BlockState& block_state();
/// The same while blocks run on this core, else null: what the hooks ask first.
extern constinit thread_local BlockState* running;

/// While it lives, accesses go unchecked: the linker may have merged an inline function of the emulation with
/// an instrumented one.
class Quiet {
 public:
  explicit Quiet(BlockState& b) : b_(b) { b_.quiet = true; }
  ~Quiet() { b_.quiet = false; }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;

 private:
  BlockState& b_;
};

/// Ends the launch with a report on the current thread. Called from a fiber only.
[[noreturn]] void fault(const std::string& what);
/// Ends the launch with a report on the block.
void block_fault(BlockState& b, const std::string& what);

/// Meets the lanes of the mask; the last to come carries it out for all.
void meet(const char* name, unsigned mask, const std::source_location& where, void* arguments,
          Execute execute);
std::string text(const std::source_location& where);

/// Checks an access of the current thread and notes it. `pc` tells where. The caller is quiet.
void check_access(const void* address, std::size_t bytes, bool write, bool atomic, bool aligned,
                  const void* pc);
/// Marks the target of a cp.async as in flight (or landed).
void mark_in_flight(const void* shared, std::size_t bytes, bool in_flight);
/// From the shared arena of the block; a fault when the target has no more.
std::byte* allocate_shared(BlockState& b, std::size_t bytes, std::size_t alignment);
void clear_shared(BlockState& b);

/// Runs every block of a launch; throws Error with the first fault.
void run_now(const Launch& l, const Call& call);
/// The host's work in a stream: done at once, or recorded while the stream is captured.
void queue(Stream stream, std::function<void()> work);

// Device memory as the host sees it. An address may be of either side; out of bounds throws Error.
void* allocate_device(std::size_t bytes);
bool device_holds(const void* address);
void free_device(void* block);
void recycle_device(void* block, std::size_t bytes, std::size_t capacity);
void copy_memory(void* to, const void* from, std::size_t bytes);
/// Device memory to the host; throws Error also where nothing wrote it. `reader` is named.
void read_memory(const char* reader, void* to, const void* from, std::size_t bytes);
void clear_memory(void* block, std::size_t bytes);

}  // namespace voxot::simt::emulation
