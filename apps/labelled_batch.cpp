#include "apps/labelled_batch.h"

namespace voxot {

LabelledBatch draw_batch(Dataset& dataset, const RandomState& state, std::int64_t count) {
  const auto s = dataset.sample_shape();
  LabelledBatch batch;
  batch.volumes = Tensor::empty({count, s[0], s[1], s[2], s[3]});
  dataset.draw(state, count, batch.volumes.as<float>(), &batch.labels);
  return batch;
}

}  // namespace voxot
