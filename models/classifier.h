#pragma once
// A small 3-D network that says which digit a volume shows: the independent judge of transport maps, and the
// feature space of the Fréchet distance. Three stride-2 convolutions (width, 2·width, 4·width; kernel 3³, 1
// along an axis of extent 1), each with batch normalisation and ReLU; linear → features with ReLU; linear →
// classes.
#include <array>

#include "models/network.h"

namespace voxot {

/// Widths of the classifier, and what it sees.
struct VoxelClassifierOptions {
  std::array<std::int64_t, 4> volume{16, 16, 16, 3};  // D, H, W, C
  std::int64_t classes = 10;
  std::int64_t width = 24;
  std::int64_t features = 64;
};

/// The network above.
class VoxelClassifier : public Module {
 public:
  explicit VoxelClassifier(const VoxelClassifierOptions& options);
  ~VoxelClassifier() override;

  /// Both of one forward pass.
  struct Result {
    Tensor features;  // N×features
    Tensor logits;    // N×classes
  };
  /// x N×D×H×W×C, values in [−1, 1]. Throws Error for another shape.
  Result forward(Tape& tape, const Tensor& x);
  [[nodiscard]] const VoxelClassifierOptions& options() const { return options_; }

 private:
  struct Layers;
  VoxelClassifierOptions options_;
  std::unique_ptr<Layers> layers_;
};

}  // namespace voxot
