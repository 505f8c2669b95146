#include "engine/static_iteration.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "kernels/elementwise.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

// Uploads on their way at once: how far the host may run ahead.
constexpr std::size_t kUploads = 4;
// Losses are fetched after half a ring and read after the other half, when they have long arrived.
constexpr std::int64_t kFetchEvery = StaticIterationBase::kLossRows / 2;
constexpr std::size_t kLossCopies = 2;

template <class Visit>
void each_counter(const std::vector<Parameters*>& networks, Visit visit) {
  for (const Parameters* network : networks) {
    for (const NamedTensor& entry : network->named()) {
      if (entry.counter != nullptr) visit(*entry.counter);
    }
  }
}

}  // namespace

StaticIterationBase::StaticIterationBase(const StaticIterationOptions& options,
                                         std::vector<Parameters*> networks, ReadLosses read,
                                         std::size_t bytes, std::size_t run_offset)
    : records_(static_cast<std::int64_t>(bytes), networks.front()->values().device()),
      device_(records_.device()),
      networks_(std::move(networks)),
      read_(std::move(read)),
      run_offset_(run_offset),
      uploads_(device_, bytes, kUploads),
      inputs_(device_, options.inputs),
      losses_(Tensor::full({options.losses}, 0, DType::f64, device_)),
      loss_ring_(Tensor::full({kLossRows, options.losses}, 0, DType::f64, device_)),
      copies_(device_, to_size(loss_ring_.count()) * sizeof(double), kLossCopies),
      graph_(device_, options.graph) {}

void StaticIterationBase::upload(const void* records, std::size_t bytes) {
  const std::size_t slot = uploads_.acquire();
  std::memcpy(uploads_.data(slot), records, bytes);
  kernels::copy_bytes(records_.stream(), records_.data(), uploads_.data(slot), bytes);
  uploads_.mark(slot);
}

void StaticIterationBase::queue(const std::function<void()>& work) {
  work();
  const auto* run = reinterpret_cast<const std::uint64_t*>(records_.data() + run_offset_);
  kernels::store_in_ring(losses_.stream(), kLossRows, losses_.count(), run, losses_.as<double>(),
                         loss_ring_.as<double>());
}

void StaticIterationBase::run_uploaded(const std::function<void()>& work) {
  std::vector<std::int64_t> before;
  each_counter(networks_, [&](std::int64_t& counter) { before.push_back(counter); });
  const bool called = graph_.run([&] { queue(work); });
  // A replay does not pass through the modules, whose counters the host keeps.
  counted_.resize(before.size());
  std::size_t i = 0;
  each_counter(networks_, [&](std::int64_t& counter) {
    if (called) {
      counted_[i] = counter - before[i];
    } else {
      counter += counted_[i];
    }
    ++i;
  });
  ++runs_;
  if (runs_ - last_fetched_ < kFetchEvery) return;
  read_fetched();
  fetch();
}

void StaticIterationBase::fetch() {
  const std::size_t slot = copies_.acquire();
  kernels::copy_bytes(loss_ring_.stream(), copies_.data(slot), loss_ring_.data(), copies_.bytes());
  copies_.mark(slot);
  fetched_.push_back({last_fetched_, runs_, slot});
  last_fetched_ = runs_;
}

void StaticIterationBase::read_fetched() {
  const auto width = to_size(losses_.count());
  std::vector<double> values(width);
  for (; !fetched_.empty(); fetched_.pop_front()) {
    const LossCopy& copy = fetched_.front();  // stays where `read_` throws: it does so again
    copies_.wait(copy.slot);
    for (std::int64_t run = copy.before + 1; run <= copy.last; ++run) {
      const auto row = to_size((run - 1) % kLossRows);
      std::memcpy(values.data(), copies_.data(copy.slot) + row * width * sizeof(double),
                  width * sizeof(double));
      read_(run, values);
    }
  }
}

void StaticIterationBase::read_losses() {
  read_fetched();
  if (runs_ > last_fetched_) fetch();
  read_fetched();
}

void StaticIterationBase::save(const std::string& name, std::map<std::string, HostArray>& arrays) const {
  arrays[name] = HostArray::from_int64({1}, {runs_});
}

void StaticIterationBase::load(const std::string& name, const std::map<std::string, HostArray>& arrays,
                               const std::string& source) {
  const auto found = arrays.find(name);
  VOXOT_CHECK(found != arrays.end() && found->second.type == FileType::i64 && found->second.count() == 1,
              "{}: {} is missing or not one i64", source, name);
  runs_ = found->second.to_integers(name).front();
  fetched_.clear();
  last_fetched_ = runs_;
}

}  // namespace voxot
