#pragma once
// Elementwise arithmetic, casts and fills.
#include "kernels/kernel.h"
#include "kernels/philox.h"

namespace voxot::kernels {

/// y ← value (dtype, count, value, y).
inline constinit Kernel<void(DType, std::int64_t, double, void*)> fill{"fill"};

struct Axpby {
  std::int64_t count;
  double a;
  const void* x;
  double b;
  void* y;
};
/// y ← a·x + b·y. y is not read when b is 0.
inline constinit Kernel<void(DType, const Axpby&)> axpby{"axpby"};

struct LinearCombination {
  std::int64_t count;
  double a;
  const void* x;
  double b;
  const void* y;
  void* z;  // may be x or y
};
/// z ← a·x + b·y.
inline constinit Kernel<void(DType, const LinearCombination&)> linear_combination{"linear_combination"};

struct LinearCombinationAt {
  std::int64_t count;
  const double* factors;  // a and b, in the device's memory: they change between the replays of a graph
  const void* x;
  const void* y;
  void* z;  // may be x or y
};
/// z ← a·x + b·y. y does not count when b is 0.
inline constinit Kernel<void(DType, const LinearCombinationAt&)> linear_combination_at{
    "linear_combination_at"};

struct Multiply {
  std::int64_t count;
  const void* x;
  const void* y;
  void* z;
  Write write = Write::overwrite;
};
/// z ← or += x·y.
inline constinit Kernel<void(DType, const Multiply&)> multiply{"multiply"};

/// y[r, c] += bias[c] (dtype, rows, channels, bias, y); bias has the parameter type (fp32, for f64 f64).
inline constinit Kernel<void(DType, std::int64_t, std::int64_t, const void*, void*)> add_bias{"add_bias"};

/// Arguments of broadcast_add: x and y outer × rows × channels, v outer × channels.
struct BroadcastAdd {
  std::int64_t outer = 1;
  std::int64_t rows = 1;
  std::int64_t channels = 1;
  const void* x = nullptr;
  const void* v = nullptr;
  void* y = nullptr;  // may be x
};
/// y[n, r, c] ← x[n, r, c] + v[n, c], all of one type (dtype, arguments).
inline constinit Kernel<void(DType, const BroadcastAdd&)> broadcast_add{"broadcast_add"};

struct Cast {
  std::int64_t count;
  DType from;
  const void* x;
  DType to;
  void* y;
  Write write = Write::overwrite;
};
/// y ← or += x in another type.
inline constinit Kernel<void(const Cast&)> cast{"cast"};

/// ring[*counter mod rows, i] ← x[i] (rows, width, counter, x, ring), fp64. The counter lies in the device's
/// memory: the replays of a graph fill one row after another.
inline constinit Kernel<void(std::int64_t, std::int64_t, const std::uint64_t*, const double*, double*)>
    store_in_ring{"store_in_ring"};

struct FillNormal {
  std::int64_t count;
  RandomState state;
  double mean;
  double deviation;
  void* y;
};
/// Normal numbers: element i is number i mod 4 of Philox block i div 4.
inline constinit Kernel<void(DType, const FillNormal&)> fill_normal{"fill_normal"};

struct FillUniform {
  std::int64_t count;
  RandomState state;
  double low;
  double high;
  void* y;
};
/// Uniform numbers in (low, high), numbered alike.
inline constinit Kernel<void(DType, const FillUniform&)> fill_uniform{"fill_uniform"};

}  // namespace voxot::kernels
