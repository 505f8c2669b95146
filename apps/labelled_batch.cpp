#include "apps/labelled_batch.h"

#include "kernels/sizes.h"

namespace voxot {

Tensor draw_volumes(Dataset& dataset, const BatchPart& part, std::span<SampleLabel> labels) {
  const auto s = dataset.sample_shape();
  Tensor volumes = Tensor::empty({part.count, s[0], s[1], s[2], s[3]});
  dataset.draw(part, volumes.as<float>(), labels);
  return volumes;
}

LabelledBatch draw_batch(Dataset& dataset, const RandomState& state, std::int64_t count) {
  LabelledBatch batch;
  batch.labels.resize(to_size(count));
  batch.volumes = draw_volumes(dataset, {state, count}, batch.labels);
  return batch;
}

}  // namespace voxot
