#include "engine/stored_state.h"

#include <cstring>

#include "engine/finite.h"

namespace voxot {
namespace {

std::vector<std::int64_t> file_shape(const NamedTensor& entry) {
  const auto e = entry.tensor->shape().extents();
  if (entry.layout == FileLayout::channels_last) return {e[0], e[4], e[1], e[2], e[3]};
  return {e.begin(), e.end()};
}

/// What changes places between memory and file: `count` matrices of voxels × channels.
struct Matrices {
  std::int64_t count, voxels, channels;
};

Matrices matrices(const NamedTensor& entry, std::int64_t elements) {
  if (entry.layout == FileLayout::plain) return {1, elements, 1};
  const auto e = entry.tensor->shape().extents();
  if (entry.layout == FileLayout::channels_last) return {e[0], e[1] * e[2] * e[3], e[4]};
  const std::int64_t voxels = entry.volume[0] * entry.volume[1] * entry.volume[2];
  return {elements / (voxels * entry.volume[3]), voxels, entry.volume[3]};
}

NamedTensor renamed(NamedTensor entry, std::string name) {
  entry.name = std::move(name);
  return entry;
}

}  // namespace

void StateWriter::add(const std::string& name, const NamedTensor& entry) {
  if (entry.counter == nullptr) return add(name, entry, *entry.tensor);
  counts_.emplace_back(prefix_ + name, HostArray::from_int64({}, {*entry.counter}));
}

void StateWriter::add(const std::string& name, const NamedTensor& entry, const Tensor& values) {
  items_.push_back({renamed(entry, prefix_ + name), values});
}

void StateWriter::add(const std::string& name, std::int64_t count) {
  counts_.emplace_back(prefix_ + name, HostArray::from_int64({1}, {count}));
}

void StateWriter::write(std::map<std::string, HostArray>& arrays) const {
  FiniteCheck check;
  for (const Item& item : items_) check.add(item.entry.name, item.values);
  check.run(kNotSaved);
  for (const auto& [name, array] : counts_) arrays[name] = array;
  for (const Item& item : items_) {
    const std::vector<float> here = item.values.to_floats();
    std::vector<float> there(here.size());
    const auto [count, voxels, channels] = matrices(item.entry, item.values.count());
    transpose_samples(here.data(), there.data(), count, voxels, channels);
    arrays[item.entry.name] = HostArray::from_floats(file_shape(item.entry), there);
  }
}

const HostArray& StateReader::find(const std::string& name) const {
  const auto found = arrays_.find(prefix_ + name);
  VOXOT_CHECK(found != arrays_.end(), "{}: has no tensor {}", source_, prefix_ + name);
  found->second.check();
  return found->second;
}

void StateReader::add(const std::string& name, const NamedTensor& entry) {
  if (entry.counter == nullptr) return add(name, entry, *entry.tensor);
  add_count(name, {}, entry.counter);
}

void StateReader::add(const std::string& name, const NamedTensor& entry, const Tensor& to) {
  const HostArray& array = find(name);
  const std::vector<std::int64_t> shape = file_shape(entry);
  VOXOT_CHECK(array.shape == shape, "{}: {} has shape {}, the network needs {}", source_, prefix_ + name,
              describe_shape(array.shape), describe_shape(shape));
  items_.push_back({renamed(entry, prefix_ + name), &array, to});
}

void StateReader::add(const std::string& name, std::int64_t& to) { add_count(name, {1}, &to); }

void StateReader::add_count(const std::string& name, const std::vector<std::int64_t>& shape,
                            std::int64_t* to) {
  const HostArray& array = find(name);
  VOXOT_CHECK(array.type == FileType::i64 && array.shape == shape, "{}: {} is {}, expected i64 {}", source_,
              prefix_ + name, array.describe(), describe_shape(shape));
  counts_.emplace_back(&array, to);
}

void StateReader::add_flat(const std::string& name, const Tensor& to) {
  const HostArray& array = find(name);
  VOXOT_CHECK(array.count() == to.count(), "{}: {} has {} elements, expected {}", source_, prefix_ + name,
              array.count(), to.count());
  NamedTensor entry;
  entry.name = prefix_ + name;
  items_.push_back({std::move(entry), &array, to});
}

void StateReader::take() const {
  FiniteCheck check;
  for (const Item& item : items_) check.add(item.entry.name, *item.array);
  check.run(source_);
  for (const Item& item : items_) {
    const std::vector<float> there = item.array->to_floats();
    std::vector<float> here(there.size());
    const auto [count, voxels, channels] = matrices(item.entry, item.to.count());
    transpose_samples(there.data(), here.data(), count, channels, voxels);
    item.to.copy_from(Tensor::from(item.to.shape(), std::span<const float>(here)));
  }
  for (const auto& [array, to] : counts_) std::memcpy(to, array->bytes.data(), sizeof *to);
}

}  // namespace voxot
