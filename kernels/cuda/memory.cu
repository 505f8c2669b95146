// kernels/memory.h on the device.
#include "kernels/memory.h"

#include "kernels/cuda/simt_runtime.h"

namespace voxot::kernels {
namespace {

const Implement registered[] = {
    {allocate, Device::cuda, [](const Stream&, std::size_t bytes, void** block) { *block = simt::allocate(bytes); }},
    {deallocate, Device::cuda, [](const Stream&, void* block) { simt::free(block); }},
};

}  // namespace
}  // namespace voxot::kernels
