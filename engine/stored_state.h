#pragma once
// State on its way to a file and back: tensors under the names of parameters, in PyTorch's axis order.
// Nothing is written, and nothing is taken, unless all of it is there, fits and is finite.
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/host_array.h"
#include "engine/module.h"

namespace voxot {

/// Gathers what shall be written, then writes all of it or nothing.
class StateWriter {
 public:
  /// `prefix` stands before every name.
  explicit StateWriter(std::string prefix = {}) : prefix_(std::move(prefix)) {}
  /// A module's tensor, or its counter.
  void add(const std::string& name, const NamedTensor& entry);
  /// `values` in the place of the module's tensor, laid out as that is.
  void add(const std::string& name, const NamedTensor& entry, const Tensor& values);
  /// One whole number, of shape [1].
  void add(const std::string& name, std::int64_t count);
  /// Throws Error naming the first tensor that is not finite (engine/finite.h), before anything is written.
  void write(std::map<std::string, HostArray>& arrays) const;

 private:
  struct Item {
    NamedTensor entry;  // under its full name
    Tensor values;
  };
  std::string prefix_;
  std::vector<Item> items_;
  std::vector<std::pair<std::string, HostArray>> counts_;
};

/// Finds what shall be read, then takes all of it or nothing. add() throws Error, which begins with `source`,
/// for what is missing or does not fit. `arrays` must outlive this object.
class StateReader {
 public:
  StateReader(const std::map<std::string, HostArray>& arrays, std::string prefix, std::string source)
      : arrays_(arrays), prefix_(std::move(prefix)), source_(std::move(source)) {}

  /// Whether there is a tensor of that name behind the prefix.
  [[nodiscard]] bool has(const std::string& name) const { return arrays_.contains(prefix_ + name); }
  /// For a module's tensor, which may be an outline, or its counter.
  void add(const std::string& name, const NamedTensor& entry);
  /// For `to` in the place of the module's tensor, laid out as that is.
  void add(const std::string& name, const NamedTensor& entry, const Tensor& to);
  /// For a whole number, of shape [1]: it does not fit a float once it passes 2^24.
  void add(const std::string& name, std::int64_t& to);
  /// For all elements of `to` in the order in which they lie in memory, whatever its shape.
  void add_flat(const std::string& name, const Tensor& to);
  /// Gives everything its value. Throws Error naming the first tensor that is not finite, before anything is
  /// changed.
  void take() const;

 private:
  struct Item {
    NamedTensor entry;  // under its full name
    const HostArray* array;
    Tensor to;
  };
  [[nodiscard]] const HostArray& find(const std::string& name) const;
  void add_count(const std::string& name, const std::vector<std::int64_t>& shape, std::int64_t* to);

  const std::map<std::string, HostArray>& arrays_;
  std::string prefix_;
  std::string source_;
  std::vector<Item> items_;
  std::vector<std::pair<const HostArray*, std::int64_t*>> counts_;
};

}  // namespace voxot
