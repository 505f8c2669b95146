// stb_image_write and stb_easy_font behind picture.h: the only file that sees stb.
#include "apps/png.h"

#include <cstdlib>
#include <limits>
#include <memory>

#include "kernels/check.h"
#include "kernels/sizes.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_easy_font.h>
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace voxot {

std::vector<std::byte> png_bytes(const std::uint8_t* rgb, int width, int height) {
  VOXOT_CHECK(static_cast<std::int64_t>(width) * height * 3 < std::numeric_limits<int>::max() / 2,
              "png: expected a picture of less than 350 megapixels, got {}x{}", width, height);
  int length = 0;
  const std::unique_ptr<unsigned char, decltype(&std::free)> png(
      stbi_write_png_to_mem(rgb, width * 3, width, height, 3, &length), &std::free);
  VOXOT_CHECK(png != nullptr, "png: no memory to encode {}x{} pixels", width, height);
  const auto* first = reinterpret_cast<const std::byte*>(png.get());
  return {first, first + length};
}

std::vector<TextBox> text_boxes(const std::string& text) {
  struct Vertex {
    float x, y, z;
    unsigned char colour[4];
  };
  std::string printable;  // the font has no more than ASCII, and reads its table unchecked
  for (const char c : text.substr(0, 64)) {
    printable += c >= 32 && c < 127 ? c : '?';
  }
  std::vector<Vertex> vertices(printable.size() * 80 + 4);
  const int quads = stb_easy_font_print(0, 0, printable.data(), nullptr, vertices.data(),
                                        static_cast<int>(vertices.size() * sizeof(Vertex)));
  std::vector<TextBox> boxes;
  for (std::size_t i = 0; i < to_size(quads); ++i) {
    const Vertex& low = vertices[4 * i];
    const Vertex& high = vertices[4 * i + 2];
    boxes.push_back({static_cast<int>(low.x), static_cast<int>(low.y), static_cast<int>(high.x),
                     static_cast<int>(high.y)});
  }
  return boxes;
}

}  // namespace voxot
