// runtime.h on the CUDA runtime.
#include "kernels/simt/runtime.h"

#include <cuda_runtime.h>

#include "kernels/simt/recording.h"
#include "kernels/sizes.h"

namespace voxot::simt {
namespace {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // else the next launch would report it as its own
  fail("cuda: {}: {}", what, cudaGetErrorString(status));
}

/// Device memory or page-locked host memory.
bool reaches(const void* address) {
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, address), "look up an address");
  return attributes.type != cudaMemoryTypeUnregistered;
}

cudaStream_t stream_of(Stream stream) { return static_cast<cudaStream_t>(stream.handle); }
cudaEvent_t event_of(void* handle) { return static_cast<cudaEvent_t>(handle); }

int attribute(cudaDeviceAttr name) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, name, 0), "device attribute");
  return value;
}

}  // namespace

int device_count(std::string* why) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess) return count;
  cudaGetLastError();  // no driver or no GPU: not an error that later calls should meet
  if (why != nullptr) *why = cudaGetErrorString(status);
  return 0;
}

bool emulated() { return false; }

const DeviceProperties& device_properties() {
  static const DeviceProperties properties = [] {
    cudaDeviceProp prop{};
    check(cudaGetDeviceProperties(&prop, 0), "device properties");
    DeviceProperties p;
    p.name = prop.name;
    p.major = prop.major;
    p.minor = prop.minor;
    p.multiprocessors = prop.multiProcessorCount;
    p.memory = prop.totalGlobalMem;
    p.shared_per_block = prop.sharedMemPerBlockOptin;
    p.shared_per_multiprocessor = prop.sharedMemPerMultiprocessor;
    p.level2 = to_size(prop.l2CacheSize);
    p.clock_khz = attribute(cudaDevAttrClockRate);
    p.memory_clock_khz = attribute(cudaDevAttrMemoryClockRate);
    p.memory_bus_bits = attribute(cudaDevAttrGlobalMemoryBusWidth);
    return p;
  }();
  return properties;
}

std::string describe_device() {
  const DeviceProperties& p = device_properties();
  int driver = 0;
  int runtime = 0;
  check(cudaDriverGetVersion(&driver), "driver version");
  check(cudaRuntimeGetVersion(&runtime), "runtime version");
  return fmt::format("{}, sm_{}{}, {} multiprocessors, {} MiB, driver {}.{}, runtime {}.{}", p.name, p.major,
                     p.minor, p.multiprocessors, p.memory >> 20, driver / 1000, driver % 1000 / 10,
                     runtime / 1000, runtime % 1000 / 10);
}

void* allocate(std::size_t bytes) {
  check_not_recording(kNoMemoryNow);
  void* block = nullptr;
  const cudaError_t status = cudaMalloc(&block, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, "allocate");
  return block;
}
void free(void* block) { check(cudaFree(block), "free"); }
std::size_t memory_in_use() {
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "memory in use");
  return total - free;
}
void* allocate_pinned(std::size_t bytes) {
  check_not_recording(kNoMemoryNow);
  void* block = nullptr;
  check(cudaMallocHost(&block, bytes), "allocate pinned memory");
  return block;
}
void free_pinned(void* block) { check(cudaFreeHost(block), "free pinned memory"); }
void recycle(void*, std::size_t, std::size_t) {}

void copy(Stream stream, void* to, const void* from, std::size_t bytes) {
  if (recording && !(reaches(to) && reaches(from))) check_not_recording(kNoPageableNow);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream)), "copy");
}
void clear(Stream stream, void* block, std::size_t bytes) {
  check(cudaMemsetAsync(block, 0, bytes, stream_of(stream)), "clear");
}

void* create_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create stream");
  return stream;
}
void destroy_stream(void* handle) { cudaStreamDestroy(static_cast<cudaStream_t>(handle)); }
void synchronize(Stream stream) {
  if (recording && capturing(stream)) check_not_recording(kNoWaitNow);
  check(cudaStreamSynchronize(stream_of(stream)), "synchronize");
}

bool capturing(Stream stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream_of(stream), &status), "query capture");
  return status != cudaStreamCaptureStatusNone;
}

Event::Event() : handle_(nullptr) {
  cudaEvent_t event = nullptr;
  check(cudaEventCreate(&event), "create event");
  handle_ = event;
}
Event::~Event() { cudaEventDestroy(event_of(handle_)); }
void Event::record(Stream stream) {
  check(cudaEventRecord(event_of(handle_), stream_of(stream)), "record event");
}
void Event::wait() const {
  check_not_recording(kNoWaitNow);
  check(cudaEventSynchronize(event_of(handle_)), "wait for event");
}
double Event::seconds_since(const Event& earlier) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, event_of(earlier.handle_), event_of(handle_)),
        "time between events");
  return static_cast<double>(milliseconds) / 1000;
}

Graph::~Graph() {
  if (handle_ != nullptr) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(handle_));
}
void Graph::begin(Stream stream) {
  check(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal), "begin capture");
  recording = true;
}
Graph Graph::end(Stream stream) {
  recording = false;
  cudaGraph_t recorded = nullptr;
  check(cudaStreamEndCapture(stream_of(stream), &recorded), "end capture");
  Graph graph;
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, recorded, 0);
  check(cudaGraphGetNodes(recorded, nullptr, &graph.nodes_), "count graph nodes");
  cudaGraphDestroy(recorded);
  check(status, "instantiate graph");
  graph.handle_ = executable;
  return graph;
}
void Graph::launch(Stream stream) const {
  check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(handle_), stream_of(stream)), "launch graph");
}

}  // namespace voxot::simt
