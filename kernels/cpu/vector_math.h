#pragma once
// exp and log that a loop can do in vectors: polynomials without branches, tables or calls. The compiler
// vectorises the C library's only under -ffast-math. NaN gives NaN.
//   exp_lanes   within 2 ulp; what would be below the least normal number is 0, above the largest finite is
//   inf log_lanes   within 2 ulp of normal numbers; 0 and what is below the least normal number give −inf
#include <bit>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace voxot::cpu {
namespace vector_math {

template <class T>
struct Constants;

template <>
struct Constants<float> {
  using Bits = std::int32_t;
  static constexpr int kMantissa = 23;
  static constexpr float kShift = 12582912.0F;  // 1.5·2²³: adding it rounds to a whole number
  static constexpr float kLeast = -87.33654F;   // log of the least normal number
  static constexpr float kMost = 89.5F;         // gives inf
  static constexpr float kLn2High = 0.693359375F;
  static constexpr float kLn2Low = -2.12194440e-4F;
  static constexpr int kExpDegree = 7;
  static constexpr int kLogTerms = 5;
};

template <>
struct Constants<double> {
  using Bits = std::int64_t;
  static constexpr int kMantissa = 52;
  static constexpr double kShift = 6755399441055744.0;  // 1.5·2⁵²
  static constexpr double kLeast = -708.3964185322641;
  static constexpr double kMost = 710.5;
  static constexpr double kLn2High = 0.6931471803691238;
  static constexpr double kLn2Low = 1.9082149292705877e-10;
  static constexpr int kExpDegree = 13;
  static constexpr int kLogTerms = 11;
};

constexpr double inverse_factorial(int k) {
  double f = 1;
  for (int i = 2; i <= k; ++i) f *= i;
  return 1 / f;
}

}  // namespace vector_math

// Choices are between constants: one between results becomes a branch, and the loop around it no vectors.

template <class T>
inline T exp_lanes(T x) {
  using C = vector_math::Constants<T>;
  using Bits = typename C::Bits;
  T c = x < C::kLeast ? C::kLeast : x;  // a NaN stays
  c = c > C::kMost ? C::kMost : c;
  const T shifted = c * static_cast<T>(1.4426950408889634) + C::kShift;
  const T k = shifted - C::kShift;
  const T r = (c - k * C::kLn2High) - k * C::kLn2Low;
  T p = static_cast<T>(vector_math::inverse_factorial(C::kExpDegree));
#pragma GCC unroll 16
  for (int d = C::kExpDegree - 1; d >= 0; --d) {
    p = p * r + static_cast<T>(vector_math::inverse_factorial(d));
  }
  // The low bits of `shifted` hold k. 2^k in two factors: the largest k has no number of its own.
  const auto whole = static_cast<Bits>(std::bit_cast<Bits>(shifted) - std::bit_cast<Bits>(C::kShift));
  const Bits half = whole >> 1;
  constexpr Bits kBias = std::numeric_limits<T>::max_exponent - 1;
  const T first = std::bit_cast<T>(static_cast<Bits>((half + kBias) << C::kMantissa));
  const T second = std::bit_cast<T>(static_cast<Bits>((whole - half + kBias) << C::kMantissa));
  const T kept = x < C::kLeast ? T{0} : T{1};
  return p * first * (second * kept);
}

/// log(x) for x ≥ 0: x = m·2^e with m in [√½, √2), log m = 2·artanh((m − 1)/(m + 1)) by its series.
template <class T>
inline T log_lanes(T x) {
  using C = vector_math::Constants<T>;
  using Bits = typename C::Bits;
  constexpr T kRootHalf = static_cast<T>(0.7071067811865476);
  const Bits bits = std::bit_cast<Bits>(x);
  const Bits offset = bits - std::bit_cast<Bits>(kRootHalf);
  const Bits e = offset >> C::kMantissa;
  const T m = std::bit_cast<T>(static_cast<Bits>(bits - (e << C::kMantissa)));
  const T s = (m - 1) / (m + 1);
  const T z = s * s;
  T p = static_cast<T>(1.0 / (2 * C::kLogTerms + 1));
#pragma GCC unroll 16
  for (int k = C::kLogTerms - 1; k >= 1; --k) p = p * z + static_cast<T>(1.0 / (2 * k + 1));
  const T two_s = 2 * s;
  // The exponent as a number: it fits the mantissa, so the same shift turns it.
  const T k = std::bit_cast<T>(static_cast<Bits>(std::bit_cast<Bits>(C::kShift) + e)) - C::kShift;
  const T outside = x < std::numeric_limits<T>::min()    ? -std::numeric_limits<T>::infinity()
                    : x <= std::numeric_limits<T>::max() ? T{0}
                                                         : x;  // inf or NaN
  return k * C::kLn2High + (two_s + (two_s * z * p + k * C::kLn2Low)) + outside;
}

}  // namespace voxot::cpu
