#pragma once
// Batches of samples, and how a static iteration gets them.
#include <cstdint>
#include <functional>
#include <variant>

#include "engine/static_iteration.h"

namespace voxot {

/// A batch of `count` samples, N×D×H×W×C fp32: a pure function of the draw's number. A HostSampler returns it
/// on the host or on the networks' device. A DeviceSampler queues its making on their device, where the
/// number lies in memory, and is part of the recorded iteration: it may neither wait nor keep what it
/// allocates.
using HostSampler = std::function<Tensor(std::uint64_t draw, std::int64_t count)>;
using DeviceSampler = std::function<Tensor(const std::uint64_t* draw, std::int64_t count)>;
using Sampler = std::variant<HostSampler, DeviceSampler>;

/// Before a run: puts batch `draw` of a host's sampler into the iteration's input.
inline void set_batch(StaticIterationBase& iteration, std::size_t input, const Sampler& sampler,
                      std::uint64_t draw, std::int64_t count) {
  if (const auto* host = std::get_if<HostSampler>(&sampler)) iteration.set_input(input, (*host)(draw, count));
}

/// Within the queued work: the batch of that input, or of the number at `draw`, in the device's memory.
inline Tensor queue_batch(const StaticIterationBase& iteration, std::size_t input, const Sampler& sampler,
                          const std::uint64_t* draw, std::int64_t count) {
  const auto* device = std::get_if<DeviceSampler>(&sampler);
  return device != nullptr ? (*device)(draw, count) : iteration.input(input);
}

}  // namespace voxot
