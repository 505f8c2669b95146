#include "kernels/memory.h"

#include <cstdlib>

namespace voxot::kernels {
namespace {

const Implement registered[] = {
    {allocate, Device::cpu,
     [](const Stream&, std::size_t bytes, void** block) {
       *block = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
     }},
    {deallocate, Device::cpu, [](const Stream&, void* block) { std::free(block); }},
};

}  // namespace
}  // namespace voxot::kernels
