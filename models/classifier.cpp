#include "models/classifier.h"

#include "engine/ops/elementwise.h"

namespace voxot {
namespace {

constexpr Activation kRelu{ActivationKind::relu, 0};
constexpr ops::Conv3dGeometry kHalve{{2, 2, 2}, {1, 1, 1}, {1, 1, 1}};

std::array<std::int64_t, 4> last_volume(const VoxelClassifierOptions& o) {
  std::array<std::int64_t, 4> v{0, 0, 0, 4 * o.width};
  for (std::size_t a = 0; a < 3; ++a) {
    v[a] = o.volume[a];
    for (int i = 0; i < 3; ++i) v[a] = (v[a] + 1) / 2;
  }
  return v;
}

}  // namespace

struct VoxelClassifier::Layers {
  explicit Layers(const VoxelClassifierOptions& o)
      : conv_0(o.volume[3], o.width, 3, kHalve),
        norm_0(NormKind::batch, o.width),
        conv_1(o.width, 2 * o.width, 3, kHalve),
        norm_1(NormKind::batch, 2 * o.width),
        conv_2(2 * o.width, 4 * o.width, 3, kHalve),
        norm_2(NormKind::batch, 4 * o.width),
        features(last_volume(o), o.features),
        logits(o.features, o.classes) {}
  Conv3d conv_0;
  Norm norm_0;
  Conv3d conv_1;
  Norm norm_1;
  Conv3d conv_2;
  Norm norm_2;
  Linear features;
  Linear logits;
};

VoxelClassifier::VoxelClassifier(const VoxelClassifierOptions& options)
    : options_(options), layers_(std::make_unique<Layers>(options)) {
  add(layers_->conv_0, "conv_0");
  add(layers_->norm_0, "norm_0");
  add(layers_->conv_1, "conv_1");
  add(layers_->norm_1, "norm_1");
  add(layers_->conv_2, "conv_2");
  add(layers_->norm_2, "norm_2");
  add(layers_->features, "features");
  add(layers_->logits, "logits");
}

VoxelClassifier::~VoxelClassifier() = default;

VoxelClassifier::Result VoxelClassifier::forward(Tape& tape, const Tensor& x) {
  const auto& v = options_.volume;
  VOXOT_CHECK(x.shape().rank() == 5 && x.extent(1) == v[0] && x.extent(2) == v[1] && x.extent(3) == v[2] &&
                  x.extent(4) == v[3],
              "VoxelClassifier: made for N×{}×{}×{}×{}, got {}", v[0], v[1], v[2], v[3], x.shape().text());
  Layers& l = *layers_;
  Tensor h = conv_norm_act(tape, l.conv_0, l.norm_0, x, kRelu);
  h = conv_norm_act(tape, l.conv_1, l.norm_1, h, kRelu);
  h = conv_norm_act(tape, l.conv_2, l.norm_2, h, kRelu);
  const Tensor features =
      l.features(tape, ops::reshape(tape, h, {h.extent(0), h.count() / h.extent(0)}), kRelu);
  return {features, l.logits(tape, features)};
}

}  // namespace voxot
