// Blocks, fibers, barriers and warp functions of the emulation.
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <boost/context/detail/fcontext.hpp>
#include <utility>

#include "kernels/features.h"
#include "kernels/simt/emulation_state.h"
#include "kernels/simt/runtime.h"
#include "kernels/sizes.h"

#if defined(VOXOT_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace voxot::simt {
namespace emulation {
namespace {

namespace context = boost::context::detail;

/// Unwinds a thread that failed.
struct Stopped {};

// The sanitizer keeps a shadow of each stack, so it is told of every switch.
void before_switch([[maybe_unused]] void** fake, [[maybe_unused]] const void* stack,
                   [[maybe_unused]] std::size_t bytes) {
#if defined(VOXOT_ADDRESS_SANITIZER)
  __sanitizer_start_switch_fiber(fake, stack, bytes);
#endif
}
void after_switch([[maybe_unused]] void* fake, [[maybe_unused]] const void** stack,
                  [[maybe_unused]] std::size_t* bytes) {
#if defined(VOXOT_ADDRESS_SANITIZER)
  __sanitizer_finish_switch_fiber(fake, stack, bytes);
#endif
}

void to_scheduler(BlockState& b, Fiber& f) {
  const bool quiet = std::exchange(b.quiet, true);
  before_switch(&f.fake_stack, b.scheduler_stack, b.scheduler_stack_bytes);
  b.scheduler = context::jump_fcontext(b.scheduler, nullptr).fctx;
  after_switch(f.fake_stack, &b.scheduler_stack, &b.scheduler_stack_bytes);
  b.quiet = quiet;
}

void fiber_main(context::transfer_t from) {
  BlockState& b = block_state();
  b.scheduler = from.fctx;
  Fiber& f = *b.current;
  after_switch(nullptr, &b.scheduler_stack, &b.scheduler_stack_bytes);
  for (;;) {
    b.quiet = false;
    try {
      b.run->call->run();
    } catch (const Stopped&) {
    }
    b.quiet = true;
    f.state = State::done;
    to_scheduler(b, f);
  }
}

void resume(BlockState& b, Fiber& f) {
  b.current = &f;
  running = &b;
  before_switch(&b.scheduler_fake_stack, f.stack, kStackBytes);
  f.context = context::jump_fcontext(f.context, nullptr).fctx;
  after_switch(b.scheduler_fake_stack, nullptr, nullptr);
  b.current = nullptr;
  running = nullptr;
  b.quiet = false;
}

/// Stacks are kept from launch to launch; a guard page lies below each.
void make_fibers(BlockState& b) {
  const std::size_t page = 4096;
  const std::size_t had = b.fibers.size();
  if (had < b.threads) b.fibers.resize(b.threads);
  for (std::size_t i = had; i < b.fibers.size(); ++i) {
    void* memory = mmap(nullptr, kStackBytes + page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    VOXOT_CHECK(memory != MAP_FAILED, "emulation: no memory for the stack of thread {}", i);
    mprotect(memory, page, PROT_NONE);
    b.fibers[i].stack = static_cast<std::byte*>(memory) + page;
    b.fibers[i].index = static_cast<unsigned>(i);
  }
}

void reset_fiber(Fiber& f) {
#if defined(VOXOT_ADDRESS_SANITIZER)
  __asan_unpoison_memory_region(f.stack, kStackBytes);
#endif
  f.fake_stack = nullptr;
  f.context = context::make_fcontext(static_cast<std::byte*>(f.stack) + kStackBytes, kStackBytes, fiber_main);
}

bool run_warp(BlockState& b, unsigned first, unsigned last) {
  bool any = false;
  for (bool progress = true; progress;) {
    progress = false;
    for (unsigned t = first; t < last; ++t) {
      if (b.fibers[t].state != State::ready) continue;
      resume(b, b.fibers[t]);
      if (b.run->failed) return true;
      progress = any = true;
    }
  }
  return any;
}

std::string thread_text(const Fiber& f) {
  return fmt::format("({}, {}, {})", f.thread.x, f.thread.y, f.thread.z);
}

/// Called when no thread can go on: all done, all at one barrier, or a fault.
bool release_barrier(BlockState& b) {
  Fiber* waiting = nullptr;
  Fiber* absent = nullptr;
  for (unsigned t = 0; t < b.threads; ++t) {
    Fiber& f = b.fibers[t];
    if (f.state == State::in_warp_function) {
      block_fault(b, fmt::format("thread {} waits in the warp function at {} for lanes that never come",
                                 thread_text(f), text(f.where)));
      return false;
    }
    (f.state == State::at_barrier ? waiting : absent) = &f;
  }
  if (waiting == nullptr) return false;
  if (absent != nullptr) {
    block_fault(b, fmt::format("thread {} waits at the barrier at {}, which thread {} never reaches",
                               thread_text(*waiting), text(waiting->where), thread_text(*absent)));
    return false;
  }
  for (unsigned t = 0; t < b.threads; ++t) {
    Fiber& f = b.fibers[t];
    if (f.where.line() != waiting->where.line() || f.where.column() != waiting->where.column()) {
      block_fault(b, fmt::format("threads {} and {} wait at different barriers, {} and {}", thread_text(f),
                                 thread_text(*waiting), text(f.where), text(waiting->where)));
      return false;
    }
    f.state = State::ready;
  }
  ++b.epoch;
  return true;
}

void run_block(BlockState& b, std::uint64_t index) {
  const Launch& l = *b.run->launch;
  b.block = {static_cast<unsigned>(index % l.grid.x), static_cast<unsigned>(index / l.grid.x % l.grid.y),
             static_cast<unsigned>(index / l.grid.x / l.grid.y)};
  clear_shared(b);
  if (l.shared_bytes > 0) allocate_shared(b, l.shared_bytes, 128);
  for (unsigned t = 0; t < b.threads; ++t) {
    Fiber& f = b.fibers[t];
    f.state = State::ready;
    f.thread = {t % l.block.x, t / l.block.x % l.block.y, t / l.block.x / l.block.y};
    f.open_copies.clear();
    f.committed_copies.clear();
  }
  do {
    for (bool progress = true; progress;) {
      progress = false;
      for (unsigned first = 0; first < b.threads; first += kWarp) {
        progress |= run_warp(b, first, std::min(first + kWarp, b.threads));
        if (b.run->failed) return;
      }
    }
  } while (release_barrier(b));
}

void run_blocks(Run& run) {
  BlockState& b = block_state();
  const Launch& l = *run.launch;
  b.run = &run;
  b.threads = l.block.x * l.block.y * l.block.z;
  make_fibers(b);
  for (unsigned t = 0; t < b.threads; ++t) reset_fiber(b.fibers[t]);
  b.warps.assign((b.threads + kWarp - 1) / kWarp, {});
  const std::uint64_t blocks = std::uint64_t{l.grid.x} * l.grid.y * l.grid.z;
  for (std::uint64_t i = run.next++; i < blocks && !run.failed; i = run.next++) run_block(b, i);
  b.run = nullptr;
}

}  // namespace

Target& target() {
  static Target target;
  return target;
}

constinit thread_local BlockState* running = nullptr;

BlockState& block_state() {
  static thread_local BlockState state;
  return state;
}

std::string text(const std::source_location& where) {
  const std::string file = where.file_name();
  return fmt::format("{}:{}", file.substr(file.rfind('/') + 1), where.line());
}

void block_fault(BlockState& b, const std::string& what) {
  const std::lock_guard lock(b.run->mutex);
  if (!b.run->failed) {
    b.run->fault =
        fmt::format("{}: block ({}, {}, {}): {}", b.run->launch->name, b.block.x, b.block.y, b.block.z, what);
  }
  b.run->failed = true;
}

void fault(const std::string& what) {
  BlockState& b = block_state();
  block_fault(b, fmt::format("thread {}: {}", thread_text(*b.current), what));
  throw Stopped{};
}

void run_now(const Launch& l, const Call& call) {
  const std::uint64_t threads = std::uint64_t{l.block.x} * l.block.y * l.block.z;
  VOXOT_CHECK(threads > 0 && threads <= target().threads_per_block,
              "{}: blocks of {} threads; the target takes 1 to {}", l.name, threads,
              target().threads_per_block);
  VOXOT_CHECK(l.grid.x > 0 && l.grid.x <= 0x7FFFFFFFU && l.grid.y > 0 && l.grid.y <= 65535 && l.grid.z > 0 &&
                  l.grid.z <= 65535,
              "{}: a grid of {}×{}×{} blocks", l.name, l.grid.x, l.grid.y, l.grid.z);
  VOXOT_CHECK(l.shared_bytes <= target().shared_per_block,
              "{}: {} bytes of shared memory in a block; the target has {}", l.name, l.shared_bytes,
              target().shared_per_block);
  Run run;
  run.launch = &l;
  run.call = &call;
  const std::uint64_t blocks = std::uint64_t{l.grid.x} * l.grid.y * l.grid.z;
  const int cores =
      static_cast<int>(std::min<std::uint64_t>(blocks, static_cast<std::uint64_t>(kernels::threads())));
#pragma omp parallel num_threads(cores) if (cores > 1)
  run_blocks(run);
  if (run.failed) throw Error(run.fault);
}

void meet(const char* name, unsigned mask, const std::source_location& where, void* arguments,
          Execute execute) {
  BlockState& b = block_state();
  const Quiet quiet(b);
  Fiber& f = *b.current;
  const unsigned lane = f.index % kWarp;
  const unsigned first = f.index - lane;
  auto& meetings = b.warps[f.index / kWarp].meetings;
  if ((mask >> lane & 1U) == 0)
    fault(fmt::format("{} at {}: mask {:#010x} leaves out its own lane", name, text(where), mask));
  auto found =
      std::find_if(meetings.begin(), meetings.end(), [&](const Meeting& m) { return m.mask == mask; });
  if (found == meetings.end()) {
    meetings.push_back({mask, 0, name, where, {}});
    found = meetings.end() - 1;
  }
  if (found->where.line() != where.line() || found->name != name) {
    fault(fmt::format("{} at {} while other lanes of its mask are in {} at {}", name, text(where),
                      found->name, text(found->where)));
  }
  found->arguments[lane] = arguments;
  found->arrived |= 1U << lane;
  if (found->arrived != mask) {
    for (unsigned i = 0; i < kWarp; ++i) {
      const bool gone = first + i >= b.threads || b.fibers[first + i].state == State::done;
      if ((mask >> i & 1U) != 0 && gone) {
        fault(fmt::format("{} at {}: lane {} of its mask has ended", name, text(where), i));
      }
    }
    f.where = where;
    f.state = State::in_warp_function;
    to_scheduler(b, f);
    return;
  }
  const Meeting meeting = *found;
  meetings.erase(found);
  execute(meeting.arguments, mask);
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1U) != 0 && i != lane) b.fibers[first + i].state = State::ready;
  }
}

void* static_shared(const char* key, std::size_t bytes, std::size_t alignment) {
  BlockState& b = block_state();
  const Quiet quiet(b);
  for (const auto& s : b.statics) {
    if (s.key == key) return b.shared + s.offset;
  }
  std::byte* block = allocate_shared(b, bytes, alignment);
  b.statics.push_back({key, to_size(block - b.shared)});
  const std::size_t total = b.shared_asked - b.run->launch->shared_bytes;
  if (total > target().static_shared) {
    fault(fmt::format("{} bytes of static shared memory; the target has {}", total, target().static_shared));
  }
  return block;
}

void* dynamic_shared() {
  BlockState& b = block_state();
  if (b.run->launch->shared_bytes == 0) fault("dynamic shared memory, of which the launch gives none");
  return b.shared;
}

namespace {
struct Shuffle {
  std::uint64_t value;
  unsigned from;
  std::uint64_t result;
};
struct Vote {
  std::uint32_t word;
  unsigned result;
};
}  // namespace

std::uint64_t shuffle(std::uint64_t value, unsigned from, unsigned mask, const Where& where) {
  if ((mask >> from & 1U) == 0)
    fault(fmt::format("shuffle at {}: lane {} is not in mask {:#010x}", text(where), from, mask));
  Shuffle mine{value, from, 0};
  meet("shuffle", mask, where, &mine, [](void* const* all, unsigned lanes) {
    for (unsigned i = 0; i < kWarp; ++i) {
      if ((lanes >> i & 1U) == 0) continue;
      auto* s = static_cast<Shuffle*>(all[i]);
      s->result = static_cast<Shuffle*>(all[s->from])->value;
    }
  });
  return mine.result;
}

}  // namespace emulation

Dim3 thread_index() { return emulation::block_state().current->thread; }
Dim3 block_index() { return emulation::block_state().block; }
Dim3 block_extent() { return emulation::block_state().run->launch->block; }
Dim3 grid_extent() { return emulation::block_state().run->launch->grid; }
unsigned linear_lane() { return emulation::block_state().current->index % kWarp; }

void sync_block(const Where& where) {
  auto& b = emulation::block_state();
  const emulation::Quiet quiet(b);
  emulation::Fiber& f = *b.current;
  f.where = where;
  f.state = emulation::State::at_barrier;
  emulation::to_scheduler(b, f);
}

void sync_warp(unsigned mask, const Where& where) {
  int nothing = 0;
  emulation::meet("sync_warp", mask, where, &nothing, [](void* const*, unsigned) {
    auto& b = emulation::block_state();
    ++b.warps[b.current->index / kWarp].epoch;
  });
}

unsigned ballot(bool predicate, unsigned mask, const Where& where) {
  emulation::Vote mine{predicate ? 1U : 0U, 0};
  emulation::meet("ballot", mask, where, &mine, [](void* const* all, unsigned lanes) {
    unsigned votes = 0;
    for (unsigned i = 0; i < kWarp; ++i) {
      if ((lanes >> i & 1U) != 0) votes |= static_cast<emulation::Vote*>(all[i])->word << i;
    }
    for (unsigned i = 0; i < kWarp; ++i) {
      if ((lanes >> i & 1U) != 0) static_cast<emulation::Vote*>(all[i])->result = votes;
    }
  });
  return mine.result;
}

unsigned match_any(std::uint32_t word, unsigned mask, const Where& where) {
  emulation::Vote mine{word, 0};
  emulation::meet("match_any", mask, where, &mine, [](void* const* all, unsigned lanes) {
    for (unsigned i = 0; i < kWarp; ++i) {
      if ((lanes >> i & 1U) == 0) continue;
      auto* vote = static_cast<emulation::Vote*>(all[i]);
      for (unsigned j = 0; j < kWarp; ++j) {
        if ((lanes >> j & 1U) != 0 && static_cast<emulation::Vote*>(all[j])->word == vote->word)
          vote->result |= 1U << j;
      }
    }
  });
  return mine.result;
}

}  // namespace voxot::simt
