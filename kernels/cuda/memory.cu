// kernels/memory.h and the device's part of kernels/features.h.
#include "kernels/memory.h"

#include "kernels/cuda/simt_runtime.h"
#include "kernels/features.h"

namespace voxot::kernels {
namespace {

const Implement registered[] = {
    {allocate, Device::cuda, [](const Stream&, std::size_t bytes, void** block) { *block = simt::allocate(bytes); }},
    {deallocate, Device::cuda, [](const Stream&, void* block) { simt::free(block); }},
    {recycle, Device::cuda,
     [](const Stream&, void* block, std::size_t bytes, std::size_t capacity) { simt::recycle(block, bytes, capacity); }},
    {copy_bytes, Device::cuda,
     [](const Stream& stream, void* to, const void* from, std::size_t bytes) { simt::copy(stream, to, from, bytes); }},
    {synchronize, Device::cuda, [](const Stream& stream) { simt::synchronize(stream); }},
    {count_devices, Device::cuda, [](const Stream&, int* count) { *count = simt::device_count(); }},
    {kernels::describe_device, Device::cuda,
     [](const Stream&, std::string* text) { *text = simt::describe_device(); }},
    {main_stream, Device::cuda, [](const Stream&, void** handle) { *handle = simt::create_stream(); }},
};

}  // namespace
}  // namespace voxot::kernels
