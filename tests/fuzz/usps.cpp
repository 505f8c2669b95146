// USPS's text, raw and gzip.
#include "datasets/usps.h"

#include <algorithm>

#include "tests/fuzz/fuzz.h"

using namespace voxot;

namespace {

constexpr std::int64_t kLines = 2, kPixels = 256;

}  // namespace

std::vector<std::string> fuzz::seeds() {
  std::string text;
  for (int line = 0; line < kLines; ++line) {
    text += line == 0 ? "6.0000" : "5";
    for (int pixel = 0; pixel < kPixels; ++pixel)
      text += pixel % 3 == 0 ? " -1.000" : pixel % 3 == 1 ? "\t0.5" : " 1";
    text += line == 0 ? " \r\n" : "\n";
  }
  return {text, gzip(text), text.substr(0, text.size() - 1)};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::MemoryFile file(fuzz::text_of(data, size));
  fuzz::read_or_refuse(file.path().string(), [&] {
    const UspsImages images = read_usps_images(file.path(), kLines);
    fuzz::require(images.digits.size() == kLines && images.pixels.size() == kLines * kPixels);
    fuzz::require(
        std::all_of(images.pixels.begin(), images.pixels.end(), [](float v) { return v >= 0 && v <= 1; }));
  });
  return 0;
}
