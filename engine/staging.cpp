#include "engine/staging.h"

#include <cstring>

#include "kernels/sizes.h"

namespace voxot {

PinnedRing::PinnedRing(Device device, std::size_t bytes, std::size_t slots)
    : stream_(kernels::stream_of(device)), bytes_(bytes), slots_(slots) {
  for (Slot& slot : slots_) {
    void* block = nullptr;
    kernels::allocate_pinned(stream_, bytes, &block);
    VOXOT_CHECK(block != nullptr, "staging: no page-locked memory for {} bytes", bytes);
    slot.data = static_cast<std::byte*>(block);
    kernels::create_event(stream_, &slot.event);
  }
}

PinnedRing::~PinnedRing() {
  try {
    for (const Slot& slot : slots_) {
      if (slot.data == nullptr) continue;
      kernels::wait_event(stream_, slot.event);
      kernels::destroy_event(stream_, slot.event);
      kernels::free_pinned(stream_, slot.data);
    }
  } catch (const Error&) {
    // A device that has failed takes nothing back.
  }
}

std::size_t PinnedRing::acquire() {
  const std::size_t slot = next_;
  next_ = (next_ + 1) % slots_.size();
  wait(slot);
  return slot;
}

void PinnedRing::mark(std::size_t slot) { kernels::record_event(stream_, slots_[slot].event); }
void PinnedRing::wait(std::size_t slot) const { kernels::wait_event(stream_, slots_[slot].event); }

void StaticInputs::set(std::size_t input, const Tensor& value) {
  Tensor& place = inputs_[input];
  if (device_ == Device::cpu) {
    place = value;
    return;
  }
  if (!place.defined()) place = Tensor::empty(value.shape(), value.dtype(), device_);
  VOXOT_CHECK(place.shape() == value.shape() && place.dtype() == value.dtype(),
              "staging: {} {} in the place of {} {}", value.shape().text(), name_of(value.dtype()),
              place.shape().text(), name_of(place.dtype()));
  if (value.device() == device_) return place.copy_from(value);
  const std::size_t bytes = to_size(value.count()) * size_of(value.dtype());
  // One slot for each input: while the device works on one set, the host fills the next.
  if (ring_ == nullptr) ring_ = std::make_unique<PinnedRing>(device_, bytes, inputs_.size());
  VOXOT_CHECK(bytes <= ring_->bytes(), "staging: {} bytes in a slot of {}", bytes, ring_->bytes());
  const std::size_t slot = ring_->acquire();
  std::memcpy(ring_->data(slot), value.data(), bytes);
  kernels::copy_bytes(place.stream(), place.data(), ring_->data(slot), bytes);
  ring_->mark(slot);
}

}  // namespace voxot
