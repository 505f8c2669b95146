#include "engine/parameters.h"

#include <cstring>

#include "engine/finite.h"

namespace voxot {
namespace {

/// Flat starts are aligned to 64 bytes, so that every parameter can be read in whole vectors.
std::int64_t padded(std::int64_t count) { return (count + 15) / 16 * 16; }

std::vector<std::int64_t> file_shape(const NamedTensor& entry) {
  if (entry.counter != nullptr) return {};
  const auto e = entry.tensor->shape().extents();
  if (entry.layout == FileLayout::channels_last) return {e[0], e[4], e[1], e[2], e[3]};
  return {e.begin(), e.end()};
}

/// Calls body(index here, index in the file) for every element.
template <class Body>
void each_element(const NamedTensor& entry, Body body) {
  const auto e = entry.tensor->shape().extents();
  std::int64_t outer = 1;
  std::int64_t voxels = entry.tensor->count();
  std::int64_t channels = 1;
  if (entry.layout == FileLayout::channels_last) {
    outer = e[0];
    voxels = e[1] * e[2] * e[3];
    channels = e[4];
  } else if (entry.layout == FileLayout::volume) {
    voxels = entry.volume[0] * entry.volume[1] * entry.volume[2];
    channels = entry.volume[3];
    outer = entry.tensor->count() / (voxels * channels);
  }
  for (std::int64_t o = 0; o < outer; ++o) {
    for (std::int64_t v = 0; v < voxels; ++v) {
      for (std::int64_t c = 0; c < channels; ++c)
        body((o * voxels + v) * channels + c, (o * channels + c) * voxels + v);
    }
  }
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t e : shape) text += (text.empty() ? "" : ", ") + std::to_string(e);
  return "[" + text + "]";
}

}  // namespace

Parameters::Parameters(Module& module, DType dtype, Device device)
    : module_(module), named_(module.named_tensors()) {
  std::int64_t total = 0;
  for (const NamedTensor& entry : named_) {
    if (entry.parameter) total += padded(entry.tensor->count());
  }
  values_ = Tensor::full({total}, 0, dtype, device);
  gradients_ = Tensor::full({total}, 0, dtype, device);
  std::int64_t at = 0;
  for (const NamedTensor& entry : named_) {
    if (entry.counter != nullptr) continue;
    Tensor& t = *entry.tensor;
    if (!entry.parameter) {
      t = t.to(dtype).to(device);
      continue;
    }
    Tensor packed = values_.window(at, t.shape());
    packed.copy_from(t);
    packed.require_gradient();
    packed.gradient()->persistent = true;
    packed.gradient()->value = gradients_.window(at, t.shape());
    at += padded(t.count());
    t = packed;
  }
}

void Parameters::zero_gradients() {
  for (const NamedTensor& entry : named_) {
    if (entry.parameter) entry.tensor->gradient()->ready = false;
  }
}

const Tensor& Parameters::gradients() {
  for (const NamedTensor& entry : named_) {
    if (!entry.parameter || entry.tensor->gradient()->ready) continue;
    entry.tensor->gradient()->value.fill(0);
  }
  return gradients_;
}

Freeze::Freeze(Parameters& parameters, bool evaluation) {
  if (evaluation) evaluation_.emplace(parameters.module());
  for (const NamedTensor& entry : parameters.named()) {
    if (!entry.parameter || !entry.tensor->gradient()->required) continue;
    thawed_.push_back(entry.tensor->gradient());
    thawed_.back()->required = false;
  }
}

Freeze::~Freeze() {
  for (const auto& slot : thawed_) slot->required = true;
}

std::map<std::string, HostArray> state_dict(const Module& module, const std::string& prefix) {
  const std::vector<NamedTensor> entries = module.named_tensors();
  FiniteCheck check;
  for (const NamedTensor& entry : entries) {
    if (entry.counter == nullptr) check.add(prefix + entry.name, *entry.tensor);
  }
  check.run(kNotSaved);
  std::map<std::string, HostArray> arrays;
  for (const NamedTensor& entry : entries) {
    if (entry.counter != nullptr) {
      arrays[prefix + entry.name] = HostArray::from_int64({}, {*entry.counter});
      continue;
    }
    const std::vector<float> here = entry.tensor->to_floats();
    std::vector<float> there(here.size());
    each_element(entry, [&](std::int64_t a, std::int64_t b) {
      there[static_cast<std::size_t>(b)] = here[static_cast<std::size_t>(a)];
    });
    arrays[prefix + entry.name] = HostArray::from_floats(file_shape(entry), there);
  }
  return arrays;
}

void check_state_dict(const Module& module, const std::map<std::string, HostArray>& arrays,
                      const std::string& source) {
  const std::vector<NamedTensor> entries = module.named_tensors();
  std::map<std::string, bool> wanted;
  for (const NamedTensor& entry : entries) {
    const auto found = arrays.find(entry.name);
    VOXOT_CHECK(found != arrays.end(), "{}: has no tensor {}", source, entry.name);
    VOXOT_CHECK(found->second.shape == file_shape(entry), "{}: {} has shape {}, the network needs {}", source,
                entry.name, shape_text(found->second.shape), shape_text(file_shape(entry)));
    found->second.check();
    VOXOT_CHECK(entry.counter == nullptr || found->second.type == FileType::i64, "{}: {} is {}, expected i64",
                source, entry.name, found->second.describe());
    wanted[entry.name] = true;
  }
  for (const auto& [name, array] : arrays) {
    VOXOT_CHECK(wanted.contains(name), "{}: unexpected tensor {} (the network has {})", source, name,
                entries.size());
  }
}

void load_state_dict(Module& module, const std::map<std::string, HostArray>& arrays,
                     const std::string& source) {
  check_state_dict(module, arrays, source);
  const std::vector<NamedTensor> entries = module.named_tensors();
  FiniteCheck check;
  for (const NamedTensor& entry : entries) {
    if (entry.counter == nullptr) check.add(entry.name, arrays.at(entry.name));
  }
  check.run(source);
  for (const NamedTensor& entry : entries) {
    const HostArray& array = arrays.at(entry.name);
    if (entry.counter != nullptr) {
      std::memcpy(entry.counter, array.bytes.data(), sizeof(std::int64_t));
      continue;
    }
    const std::vector<float> there = array.to_floats();
    std::vector<float> here(there.size());
    each_element(entry, [&](std::int64_t a, std::int64_t b) {
      here[static_cast<std::size_t>(a)] = there[static_cast<std::size_t>(b)];
    });
    entry.tensor->copy_from(Tensor::from(entry.tensor->shape(), std::span<const float>(here)));
  }
}

}  // namespace voxot
