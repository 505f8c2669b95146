#pragma once
// A batch of samples with what is known of them.
#include <cstdint>
#include <span>
#include <vector>

#include "datasets/dataset.h"
#include "engine/tensor.h"

namespace voxot {

struct LabelledBatch {
  Tensor volumes;  // N×D×H×W×C fp32, on the host
  std::vector<SampleLabel> labels;
};

/// A part of a batch as a tensor; `labels` as Dataset::draw takes them.
Tensor draw_volumes(Dataset& dataset, const BatchPart& part, std::span<SampleLabel> labels = {});
/// A whole batch with its labels.
LabelledBatch draw_batch(Dataset& dataset, const RandomState& state, std::int64_t count);

}  // namespace voxot
