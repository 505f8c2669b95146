// runtime.h on host memory. Work runs as it is queued; while a stream is captured it is recorded
// instead.
#include "kernels/simt/runtime.h"

#include <chrono>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "kernels/features.h"
#include "kernels/simt/emulation_state.h"
#include "kernels/simt/recording.h"

namespace voxot::simt {
namespace {

using Work = std::vector<std::function<void()>>;

struct EmulatedStream {
  std::unique_ptr<Work> recording;
};

/// The stream that is being captured: there is one at a time.
EmulatedStream* captured = nullptr;

Work* recording_of(Stream stream) {
  return stream.handle == nullptr ? nullptr : static_cast<EmulatedStream*>(stream.handle)->recording.get();
}

/// Page-locked host memory: first byte of each block, and the byte after its last.
class PinnedBlocks {
 public:
  void add(void* block, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    blocks_[static_cast<std::byte*>(block)] = static_cast<std::byte*>(block) + bytes;
  }
  void remove(void* block) {
    const std::lock_guard lock(mutex_);
    blocks_.erase(static_cast<std::byte*>(block));
  }
  bool holds(const void* address) {
    const auto* byte = static_cast<const std::byte*>(address);
    const std::lock_guard lock(mutex_);
    const auto after = blocks_.upper_bound(byte);
    return after != blocks_.begin() && byte < std::prev(after)->second;
  }

 private:
  std::mutex mutex_;
  std::map<const std::byte*, const std::byte*, std::less<>> blocks_;
};
PinnedBlocks& pinned_blocks() {
  static PinnedBlocks& blocks = *new PinnedBlocks;
  return blocks;
}

bool reaches(const void* address) {
  return emulation::device_holds(address) || pinned_blocks().holds(address);
}

using Clock = std::chrono::steady_clock;

}  // namespace

void emulation::queue(Stream stream, std::function<void()> work) {
  if (Work* recording = recording_of(stream)) {
    recording->push_back(std::move(work));
  } else {
    work();
  }
}

void emulation::launch(const Launch& l, std::unique_ptr<Call> call) {
  if (recording_of(l.stream) == nullptr) return run_now(l, *call);
  emulation::queue(l.stream, [l, kept = std::shared_ptr<Call>(std::move(call))] { run_now(l, *kept); });
}

int device_count(std::string*) { return 1; }
bool emulated() { return true; }

const DeviceProperties& device_properties() {
  static const DeviceProperties properties = [] {
    DeviceProperties p;
    p.name = "emulated device";
    p.major = 8;
    p.minor = 6;
    p.multiprocessors = kernels::threads();
    p.memory = emulation::target().memory;
    p.shared_per_block = emulation::target().shared_per_block;
    p.shared_per_multiprocessor = p.shared_per_block + 1024;
    p.emulated = true;
    return p;
  }();
  return properties;
}

std::string describe_device() { return "emulated device, sm_86, every access checked"; }

void* allocate(std::size_t bytes) {
  check_not_recording(kNoMemoryNow);
  return emulation::allocate_device(bytes);
}
void free(void* block) { emulation::free_device(block); }
std::size_t memory_in_use() { return 0; }
void* allocate_pinned(std::size_t bytes) {
  check_not_recording(kNoMemoryNow);
  void* block = std::malloc(bytes);
  if (block != nullptr) pinned_blocks().add(block, bytes);
  return block;
}
void free_pinned(void* block) {
  pinned_blocks().remove(block);
  std::free(block);
}
void recycle(void* block, std::size_t bytes, std::size_t capacity) {
  // A replay hands the block out again, as the recording did.
  if (captured == nullptr) return emulation::recycle_device(block, bytes, capacity);
  captured->recording->push_back([=] { emulation::recycle_device(block, bytes, capacity); });
}

void copy(Stream stream, void* to, const void* from, std::size_t bytes) {
  if (recording && !(reaches(to) && reaches(from))) check_not_recording(kNoPageableNow);
  emulation::queue(stream, [=] { emulation::copy_memory(to, from, bytes); });
}
void clear(Stream stream, void* block, std::size_t bytes) {
  emulation::queue(stream, [=] { emulation::clear_memory(block, bytes); });
}

void* create_stream() { return new EmulatedStream; }
void destroy_stream(void* handle) { delete static_cast<EmulatedStream*>(handle); }
void synchronize(Stream stream) {
  if (capturing(stream)) check_not_recording(kNoWaitNow);
}

bool capturing(Stream stream) { return recording_of(stream) != nullptr; }

Event::Event() : handle_(new Clock::time_point) {}
Event::~Event() { delete static_cast<Clock::time_point*>(handle_); }
void Event::record(Stream) { *static_cast<Clock::time_point*>(handle_) = Clock::now(); }
void Event::wait() const { check_not_recording(kNoWaitNow); }
double Event::seconds_since(const Event& earlier) const {
  const auto span =
      *static_cast<Clock::time_point*>(handle_) - *static_cast<Clock::time_point*>(earlier.handle_);
  return std::chrono::duration<double>(span).count();
}

Graph::~Graph() { delete static_cast<Work*>(handle_); }
void Graph::begin(Stream stream) {
  VOXOT_CHECK(stream.handle != nullptr, "cuda: the default stream cannot be captured");
  captured = static_cast<EmulatedStream*>(stream.handle);
  captured->recording = std::make_unique<Work>();
  recording = true;
}
Graph Graph::end(Stream stream) {
  recording = false;
  Graph graph;
  Work* work = static_cast<EmulatedStream*>(stream.handle)->recording.release();
  graph.handle_ = work;
  graph.nodes_ = work->size();
  captured = nullptr;
  return graph;
}
void Graph::launch(Stream) const {
  for (const auto& work : *static_cast<const Work*>(handle_)) work();
}

}  // namespace voxot::simt
