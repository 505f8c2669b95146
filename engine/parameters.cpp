#include "engine/parameters.h"

#include <set>

#include "engine/stored_state.h"

namespace voxot {
namespace {

/// Flat starts are aligned to 64 bytes, so that every parameter can be read in whole vectors.
std::int64_t padded(std::int64_t count) { return (count + 15) / 16 * 16; }

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

std::vector<Parameters::Part> Parameters::parts(const Tensor& flat) const {
  std::vector<Part> parts;
  std::int64_t at = 0;
  for (const NamedTensor& entry : named_) {
    if (!entry.parameter) continue;
    parts.push_back({entry, flat.window(at, entry.tensor->shape())});
    at += padded(entry.tensor->count());
  }
  return parts;
}

std::map<std::string, HostArray> state_dict(const Module& module, const std::string& prefix) {
  StateWriter state(prefix);
  for (const NamedTensor& entry : module.named_tensors()) state.add(entry.name, entry);
  std::map<std::string, HostArray> arrays;
  state.write(arrays);
  return arrays;
}

namespace {

StateReader state_of(const Module& module, const std::map<std::string, HostArray>& arrays,
                     const std::string& source) {
  StateReader state(arrays, "", source);
  std::set<std::string> wanted;
  for (const NamedTensor& entry : module.named_tensors()) {
    state.add(entry.name, entry);
    wanted.insert(entry.name);
  }
  for (const auto& [name, array] : arrays) {
    VOXOT_CHECK(wanted.contains(name), "{}: unexpected tensor {} (the network has {})", source, name,
                wanted.size());
  }
  return state;
}

}  // namespace

void check_state_dict(const Module& module, const std::map<std::string, HostArray>& arrays,
                      const std::string& source) {
  (void)state_of(module, arrays, source);
}

void load_state_dict(Module& module, const std::map<std::string, HostArray>& arrays,
                     const std::string& source) {
  state_of(module, arrays, source).take();
}

}  // namespace voxot
