#pragma once
// Elementwise arithmetic, casts and fills.
#include "kernels/kernel.h"
#include "kernels/philox.h"

namespace voxot::kernels {

/// y ← value (dtype, count, value, y).
inline constinit Kernel<void(DType, std::int64_t, double, void*)> fill{"fill"};

/// y ← a·x + b·y (dtype, count, a, x, b, y). y is not read when b is 0.
inline constinit Kernel<void(DType, std::int64_t, double, const void*, double, void*)> axpby{"axpby"};

/// z ← a·x + b·y (dtype, count, a, x, b, y, z); z may be x or y.
inline constinit Kernel<void(DType, std::int64_t, double, const void*, double, const void*, void*)>
    linear_combination{"linear_combination"};

/// The same with a and b read from the device's memory (dtype, count, factors = {a, b}, x, y, z): factors
/// that change between the replays of a graph. y does not count when b is 0.
inline constinit Kernel<void(DType, std::int64_t, const double*, const void*, const void*, void*)>
    linear_combination_at{"linear_combination_at"};

/// z ← or += x·y (dtype, count, x, y, z, write).
inline constinit Kernel<void(DType, std::int64_t, const void*, const void*, void*, Write)> multiply{
    "multiply"};

/// y[r, c] += bias[c] (dtype, rows, channels, bias, y); bias has the parameter type (fp32, for f64 f64).
inline constinit Kernel<void(DType, std::int64_t, std::int64_t, const void*, void*)> add_bias{"add_bias"};

/// y ← or += x in another type (from, to, count, x, y, write).
inline constinit Kernel<void(DType, DType, std::int64_t, const void*, void*, Write)> cast{"cast"};

/// ring[*counter mod rows, i] ← x[i] (rows, width, counter, x, ring), fp64. The counter lies in the device's
/// memory: the replays of a graph fill one row after another.
inline constinit Kernel<void(std::int64_t, std::int64_t, const std::uint64_t*, const double*, double*)>
    store_in_ring{"store_in_ring"};

/// Standard normal numbers times `deviation` plus `mean`: element i is number i mod 4 of Philox block i div 4
/// (dtype, count, state, mean, deviation, y).
inline constinit Kernel<void(DType, std::int64_t, RandomState, double, double, void*)> fill_normal{
    "fill_normal"};

/// Uniform numbers in (low, high) (dtype, count, state, low, high, y).
inline constinit Kernel<void(DType, std::int64_t, RandomState, double, double, void*)> fill_uniform{
    "fill_uniform"};

}  // namespace voxot::kernels
