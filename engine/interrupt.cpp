#include "engine/interrupt.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string_view>

namespace voxot {
namespace {

static_assert(std::atomic<int>::is_always_lock_free, "a signal's handler takes no lock");

constexpr std::size_t kSlots = 16;

struct Slot {
  enum State { free, being_set, set };
  std::atomic<int> state{free};
  std::array<char, 4096> path;
};

// Of fixed place and size, for a signal's handler to read.
std::array<Slot, kSlots> slots;
std::atomic<int> holders{0};
std::atomic<int> caught{0};

/// A handler may call write() and nothing that formats.
void say(std::string_view before, int signal, std::string_view after) {
  std::array<char, 160> line;
  std::size_t length = before.copy(line.data(), before.size());
  if (signal >= 10) line[length++] = static_cast<char>('0' + signal / 10);
  line[length++] = static_cast<char>('0' + signal % 10);
  length += after.copy(line.data() + length, after.size());
  [[maybe_unused]] const ssize_t unheard = ::write(STDERR_FILENO, line.data(), length);
}

[[noreturn]] void end_process(int signal) {
  for (Slot& slot : slots) {
    if (slot.state == Slot::set) ::unlink(slot.path.data());
  }
  ::_exit(128 + signal);
}

extern "C" void on_signal(int signal) {
  const int before_errno = errno;
  int none = 0;
  if (holders == 0 || !caught.compare_exchange_strong(none, signal)) {
    say("voxot: ended by signal ", signal, "\n");
    end_process(signal);
  }
  say("voxot: signal ", signal, ": ends when what is at hand can be kept; a second one ends it at once\n");
  errno = before_errno;
}

}  // namespace

void watch_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before {};
    sigaction(signal, nullptr, &before);
    if (signal != SIGHUP || before.sa_handler != SIG_IGN) sigaction(signal, &action, nullptr);
  }
  std::signal(SIGXFSZ, SIG_IGN);
}

int caught_signal() { return caught; }

HoldSignals::HoldSignals() : outermost_(holders++ == 0), exceptions_(std::uncaught_exceptions()) {}

HoldSignals::~HoldSignals() {
  --holders;
  if (!outermost_ || caught == 0 || std::uncaught_exceptions() > exceptions_) return;
  std::fflush(nullptr);
  end_process(caught);
}

RemovedBySignal::RemovedBySignal(const std::string& path) : slot_(kSlots) {
  if (path.size() >= slots[0].path.size()) return;
  for (std::size_t i = 0; i < kSlots; ++i) {
    int free = Slot::free;
    if (!slots[i].state.compare_exchange_strong(free, Slot::being_set)) continue;
    std::memcpy(slots[i].path.data(), path.c_str(), path.size() + 1);
    slots[i].state = Slot::set;
    slot_ = i;
    return;
  }
}

RemovedBySignal::~RemovedBySignal() {
  if (slot_ < kSlots) slots[slot_].state = Slot::free;
}

}  // namespace voxot
