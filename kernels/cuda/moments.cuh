#pragma once
// Means and centred second moments in parts: a kernel leaves a pair for each channel and chunk of rows in
// scratch memory, and join_moments makes means and variances of them in a fixed order. Source: Chan, Golub,
// LeVeque 1983.
#include "kernels/cuda/scalar.h"

namespace voxot::cuda {

/// Two sums, or a mean and a centred second moment, of one channel over some rows.
template <class F>
struct alignas(2 * sizeof(F)) Pair {
  F first, second;
};

/// Pairs laid out [outer][channel][chunk]; the last chunk has the rows that are left.
struct MomentChunks {
  std::int64_t rows;
  std::int64_t chunk;  // rows
  int chunks;
  int members;  // channels of a group
};

/// mean, variance [results] of the pairs, a result for each (outer, group); fp32 and f64.
template <class F>
void join_moments(const Stream& stream, const MomentChunks& c, std::int64_t results, const Pair<F>* partials,
                  F* mean, F* variance);

}  // namespace voxot::cuda
