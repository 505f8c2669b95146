#pragma once
// PNG encoding and a small bitmap font, both from stb.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace voxot {

/// A PNG file of 8-bit RGB rows. Throws Error when the picture is too large.
std::vector<std::byte> png_bytes(const std::uint8_t* rgb, int width, int height);

/// Filled boxes [x0, x1) × [y0, y1) that draw a line of text, about 7 wide and 12 high for each character;
/// the first 64 characters, '?' for what is not printable ASCII.
struct TextBox {
  int x0, y0, x1, y1;
};
std::vector<TextBox> text_boxes(const std::string& text);

}  // namespace voxot
