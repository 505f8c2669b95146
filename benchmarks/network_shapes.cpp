#include "benchmarks/network_shapes.h"

#include <algorithm>

namespace voxot::bench {
namespace {

constexpr std::int64_t kMostChannels = 512;

class List {
 public:
  List(std::int64_t batch, bool distinct) : batch_(batch), distinct_(distinct) {}

  void add(const std::string& name, std::int64_t in, std::int64_t out, std::int64_t extent,
           std::int64_t kernel, bool leaky = false, bool residual = false) {
    const std::int64_t pad = kernel / 2;
    Layer layer{
        name,
        {batch_, in, out, {extent, extent, extent}, {kernel, kernel, kernel}, {1, 1, 1}, {pad, pad, pad}},
        leaky,
        residual};
    const auto same = [&](const Layer& l) { return l.params == layer.params; };
    if (!distinct_ || std::none_of(layers_.begin(), layers_.end(), same)) layers_.push_back(layer);
  }
  void add_double(const std::string& name, std::int64_t in, std::int64_t mid, std::int64_t out,
                  std::int64_t extent) {
    add(name + ".0", in, mid, extent, 3);
    add(name + ".1", mid, out, extent, 3);
  }
  [[nodiscard]] const std::vector<Layer>& layers() const { return layers_; }

 private:
  std::int64_t batch_;
  bool distinct_;
  std::vector<Layer> layers_;
};

std::vector<Layer> unet(std::int64_t b, std::int64_t batch, std::int64_t extent, bool distinct) {
  List list(batch, distinct);
  list.add_double("unet.inc", 3, b, b, extent);
  list.add_double("unet.down1", b, 2 * b, 2 * b, extent / 2);
  list.add_double("unet.down2", 2 * b, 4 * b, 4 * b, extent / 4);
  list.add_double("unet.down3", 4 * b, 4 * b, 4 * b, extent / 8);
  list.add_double("unet.up2", 8 * b, 4 * b, 2 * b, extent / 4);
  list.add_double("unet.up3", 4 * b, 2 * b, b, extent / 2);
  list.add_double("unet.up4", 2 * b, b, b, extent);
  list.add("unet.outc", b, 3, extent, 1);
  return list.layers();
}

std::vector<Layer> resnet(std::int64_t nf, std::int64_t batch, std::int64_t extent, bool distinct) {
  List list(batch, distinct);
  list.add("resnet.conv_img", 3, nf, extent, 3, true);
  int index = 0;
  const auto block = [&](std::int64_t in, std::int64_t out, std::int64_t e) {
    const std::string name = "resnet." + std::to_string(index++);
    const std::int64_t mid = std::min(in, out);
    list.add(name + ".conv_0", in, mid, e, 3, true);
    list.add(name + ".conv_1", mid, out, e, 3, true, true);
    if (in != out) list.add(name + ".conv_s", in, out, e, 1);
  };
  for (std::int64_t width = nf, e = extent; e >= 4; e /= 2, ++index) {
    const std::int64_t wide = std::min(2 * width, kMostChannels);
    block(width, width, e);
    block(width, wide, e);
    width = wide;
  }
  return list.layers();
}

}  // namespace

std::vector<Layer> unet_layers(std::int64_t base, std::int64_t batch, std::int64_t extent) {
  return unet(base, batch, extent, true);
}
std::vector<Layer> resnet_layers(std::int64_t nf, std::int64_t batch, std::int64_t extent) {
  return resnet(nf, batch, extent, true);
}

double outer_iteration_flop(std::int64_t base, std::int64_t nf, std::int64_t batch, std::int64_t extent,
                            std::int64_t inner) {
  const auto total = [](const std::vector<Layer>& layers) {
    double sum = 0;
    for (const Layer& l : layers) sum += flop(l.params);
    return sum;
  };
  const std::vector<Layer> map = unet(base, batch, extent, false);
  const std::vector<Layer> potential = resnet(nf, batch, extent, false);
  const double u = total(map);
  const double f = total(potential);
  // Nobody wants the gradient of x, or of what the potential sees in its own step.
  const double first_u = flop(map[0].params);
  const double first_f = flop(potential[0].params);
  return static_cast<double>(inner) * (3 * u - first_u + 2 * f) + u + 2 * (3 * f - first_f);
}

double flop(const Conv3dParams& p) {
  return 2.0 * static_cast<double>(p.batch * p.out_voxels()) * static_cast<double>(p.weight_count());
}

}  // namespace voxot::bench
