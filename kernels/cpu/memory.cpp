#include "kernels/memory.h"

#include <cstdlib>
#include <cstring>

namespace voxot::kernels {
namespace {

const Implement registered[] = {
    {allocate, Device::cpu,
     [](const Stream&, std::size_t bytes, void** block) {
       *block = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
     }},
    {deallocate, Device::cpu, [](const Stream&, void* block) { std::free(block); }},
    {recycle, Device::cpu, [](const Stream&, void*, std::size_t, std::size_t) {}},
    {copy_bytes, Device::cpu,
     [](const Stream&, void* to, const void* from, std::size_t bytes) { std::memcpy(to, from, bytes); }},
    {synchronize, Device::cpu, [](const Stream&) {}},
    {allocate_pinned, Device::cpu,
     [](const Stream&, std::size_t bytes, void** block) {
       *block = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
     }},
    {free_pinned, Device::cpu, [](const Stream&, void* block) { std::free(block); }},
    // Work is done when it is queued: there is nothing to wait for.
    {create_event, Device::cpu, [](const Stream&, void** event) { *event = nullptr; }},
    {destroy_event, Device::cpu, [](const Stream&, void*) {}},
    {record_event, Device::cpu, [](const Stream&, void*) {}},
    {wait_event, Device::cpu, [](const Stream&, void*) {}},
};

}  // namespace
}  // namespace voxot::kernels
