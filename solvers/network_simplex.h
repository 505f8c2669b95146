#pragma once
// Plans between general marginals by the network simplex of LEMON, for exact_ot, which validates and
// certifies.
//
// LEMON demands integers: with floating-point supplies a problem may not balance, and with floating-point
// costs the simplex may circle for ever. Masses become multiples of 2⁻⁶⁰ of their sum that balance exactly,
// costs integers of about 2⁶⁰/(rows + columns) at the largest. Where costs range so widely that this loses
// the small ones, the problem is solved again with costs capped near the largest that the plan used, in finer
// steps: the potentials of capped costs satisfy the constraints of the true ones too, so the certificate
// decides. Source: Kovács 2015, "Minimum-cost flow algorithms: an experimental evaluation"; Gleixner, Steffy,
// Wolter 2016, "Iterative refinement for linear programming".
#include "solvers/exact_ot.h"

namespace voxot {

/// All masses positive, their sums nearly equal, at least one row and one column. Throws Error where the
/// problem exceeds LEMON's 2³¹ arcs.
template <class T>
TransportPlan network_simplex(std::span<const T> cost, std::span<const double> a, std::span<const double> b);

extern template TransportPlan network_simplex(std::span<const float> cost, std::span<const double> a,
                                              std::span<const double> b);
extern template TransportPlan network_simplex(std::span<const double> cost, std::span<const double> a,
                                              std::span<const double> b);

}  // namespace voxot
