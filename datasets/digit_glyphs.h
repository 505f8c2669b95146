#pragma once
// The skeletons of the handwritten digits: variants of each, as knots of curves.
#include <span>

namespace voxot {

/// How a curve passes a knot: it starts there (a new stroke), runs through smoothly, or turns a corner.
enum class KnotKind : unsigned char { start, smooth, corner };

/// A knot in the unit square: x to the right, y down.
struct Knot {
  KnotKind kind;
  float x;
  float y;
};

/// One way of writing a digit, chosen with probability `share` among the glyphs of its digit.
struct Glyph {
  int digit;
  float share;
  std::span<const Knot> knots;
};

/// The most knots of any glyph.
inline constexpr int kMaxKnots = 16;

/// All glyphs; the shares of each digit add up to 1.
std::span<const Glyph> digit_glyphs();

}  // namespace voxot
