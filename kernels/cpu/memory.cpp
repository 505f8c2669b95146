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
};

}  // namespace
}  // namespace voxot::kernels
