#pragma once
// The plan of one problem whose ε is known to the device alone.
#include "kernels/sinkhorn.h"

namespace voxot::cuda::sinkhorn {

/// Queues the plan of a queued problem (kernels/sinkhorn.h), with the ε of its status.
template <class T>
void queue_plan(const Stream& stream, const kernels::SinkhornQueued& problem);

}  // namespace voxot::cuda::sinkhorn
