#pragma once
// The plan of one problem whose ε is known to the device alone.
#include "kernels/sinkhorn.h"

namespace voxot::cuda::sinkhorn {

/// Queues sinkhorn_plan (kernels/sinkhorn.h) with the ε of `status`, in the device's memory.
template <class T>
void queue_plan(const Stream& stream, const SinkhornShape& shape, const SinkhornStatus* status, const T* cost,
                const double* a, const double* b, const double* f, const double* g, T* plan);

}  // namespace voxot::cuda::sinkhorn
