#pragma once
// Inner products of two sets of points about an origin amid them: what squared distances are made of.
#include <cstdint>

namespace voxot::cpu {

/// `count` points of `dimension` values, one after another.
template <class T>
struct Points {
  const T* data = nullptr;
  std::int64_t count = 0;
};

/// Where centred_products leaves its sums.
template <class T>
struct CentredProducts {
  T* products = nullptr;   // [x.count, pitch]: Σ_k (x_ik − o_k)·(y_jk − o_k)
  T* x_squares = nullptr;  // ‖x_i − o‖²
  T* y_squares = nullptr;
  std::int64_t pitch = 0;
};

/// The sums for an origin o amid the points, which lie in a scratch of this thread until it asks again; some
/// KB for each point. They depend on these points alone.
template <class T>
CentredProducts<T> centred_products(Points<T> x, Points<T> y, std::int64_t dimension);

extern template CentredProducts<float> centred_products(Points<float>, Points<float>, std::int64_t);
extern template CentredProducts<double> centred_products(Points<double>, Points<double>, std::int64_t);

}  // namespace voxot::cpu
