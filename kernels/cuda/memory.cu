// kernels/memory.h and the device's part of kernels/features.h.
#include "kernels/memory.h"

#include "kernels/features.h"
#include "kernels/simt/runtime.h"

namespace voxot::kernels {
namespace {

void count(int* devices, std::string* why) {
  *devices = simt::device_count(why);
#ifdef __CUDA_ARCH_LIST__
  // Without code for it a device would be refused at the first launch.
  constexpr int kArchitectures[] = {__CUDA_ARCH_LIST__};
  if (*devices == 0) return;
  const simt::DeviceProperties& p = simt::device_properties();
  if (simt::has_code(kArchitectures, p.major, p.minor)) return;
  *devices = 0;
  *why = fmt::format("{} is sm_{}{}, and this build has code for", p.name, p.major, p.minor);
  for (const int a : kArchitectures) *why += fmt::format(" sm_{}", a / 10);
#endif
}

const Implement registered[] = {
    {allocate, Device::cuda,
     [](const Stream&, std::size_t bytes, void** block) { *block = simt::allocate(bytes); }},
    {deallocate, Device::cuda, [](const Stream&, void* block) { simt::free(block); }},
    {recycle, Device::cuda,
     [](const Stream&, void* block, std::size_t bytes, std::size_t capacity) {
       simt::recycle(block, bytes, capacity);
     }},
    {copy_bytes, Device::cuda,
     [](const Stream& stream, void* to, const void* from, std::size_t bytes) {
       simt::copy(stream, to, from, bytes);
     }},
    {synchronize, Device::cuda, [](const Stream& stream) { simt::synchronize(stream); }},
    {count_devices, Device::cuda, [](const Stream&, int* devices, std::string* why) { count(devices, why); }},
    {build_mode, Device::cuda,
     [](const Stream&, std::string* mode) { *mode = simt::emulated() ? "emulated" : "on"; }},
    {allocate_pinned, Device::cuda,
     [](const Stream&, std::size_t bytes, void** block) { *block = simt::allocate_pinned(bytes); }},
    {free_pinned, Device::cuda, [](const Stream&, void* block) { simt::free_pinned(block); }},
    {create_event, Device::cuda, [](const Stream&, void** event) { *event = new simt::Event; }},
    {destroy_event, Device::cuda,
     [](const Stream&, void* event) { delete static_cast<simt::Event*>(event); }},
    {record_event, Device::cuda,
     [](const Stream& stream, void* event) { static_cast<simt::Event*>(event)->record(stream); }},
    {wait_event, Device::cuda, [](const Stream&, void* event) { static_cast<simt::Event*>(event)->wait(); }},
    {event_seconds, Device::cuda,
     [](const Stream&, void* earlier, void* later, double* seconds) {
       *seconds = static_cast<simt::Event*>(later)->seconds_since(*static_cast<simt::Event*>(earlier));
     }},
    {memory_in_use, Device::cuda, [](const Stream&, std::size_t* bytes) { *bytes = simt::memory_in_use(); }},
    {last_cache_bytes, Device::cuda,
     [](const Stream&, std::size_t* bytes) { *bytes = simt::device_properties().level2; }},
    {begin_capture, Device::cuda, [](const Stream& stream) { simt::Graph::begin(stream); }},
    {end_capture, Device::cuda,
     [](const Stream& stream, void** graph) { *graph = new simt::Graph(simt::Graph::end(stream)); }},
    {launch_graph, Device::cuda,
     [](const Stream& stream, void* graph) { static_cast<simt::Graph*>(graph)->launch(stream); }},
    {destroy_graph, Device::cuda,
     [](const Stream&, void* graph) { delete static_cast<simt::Graph*>(graph); }},
    {kernels::describe_device, Device::cuda,
     [](const Stream&, std::string* text) { *text = simt::describe_device(); }},
    {main_stream, Device::cuda, [](const Stream&, void** handle) { *handle = simt::create_stream(); }},
};

}  // namespace
}  // namespace voxot::kernels
