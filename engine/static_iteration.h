#pragma once
// One kind of iteration of a solver, as a static step: its shapes are fixed, every number that changes lies
// in the device's memory, and the host only fills those places and runs ahead. A GPU records it once as a
// graph (engine/graph.h). A solver has one for each kind of iteration that it repeats: SPOT a step of its
// critics and a step of its generator.
#include <deque>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/buffer.h"
#include "engine/graph.h"
#include "engine/parameters.h"
#include "engine/staging.h"
#include "kernels/sizes.h"

namespace voxot {

/// The form of an iteration.
struct StaticIterationOptions {
  std::size_t inputs = 0;   // batches that the host gives
  std::int64_t losses = 1;  // fp64 numbers that a run leaves
  bool graph = true;        // record it where the device can
};

/// What does not depend on the type of the numbers; solvers use StaticIteration.
class StaticIterationBase {
 public:
  /// Runs whose losses the device's memory holds until the host fetches them.
  static constexpr std::int64_t kLossRows = 16;
  /// Takes the losses of one run, counted from 1; throws Error where they end the training.
  using ReadLosses = std::function<void(std::int64_t run, std::span<const double> losses)>;

  StaticIterationBase(const StaticIterationBase&) = delete;
  StaticIterationBase& operator=(const StaticIterationBase&) = delete;

  [[nodiscard]] Device device() const { return device_; }
  /// Runs queued so far.
  [[nodiscard]] std::int64_t runs() const { return runs_; }

  /// A batch for the next run, from the host or the device; of the same shape each time.
  void set_input(std::size_t input, const Tensor& value) { inputs_.set(input, value); }
  [[nodiscard]] const Tensor& input(std::size_t input) const { return inputs_[input]; }
  /// Where the queued work leaves loss `i`: one element, fp64.
  [[nodiscard]] Tensor loss(std::int64_t i) const { return losses_.window(i, {1}); }

  /// Waits for what is queued; hands over what has not been read. What `read` throws it throws again whenever
  /// it is asked.
  void read_losses();

  /// The number of runs, as one i64 called `name`.
  void save(const std::string& name, std::map<std::string, HostArray>& arrays) const;
  /// Throws Error, beginning with `source`, where it is missing or no count.
  void load(const std::string& name, const std::map<std::string, HostArray>& arrays,
            const std::string& source);

 protected:
  /// `networks`: those that the iteration trains or runs, whose counters a replay must move; of one device.
  /// The uploaded records have `bytes`, and each run's number, counted from 0, lies `run_offset` bytes in.
  StaticIterationBase(const StaticIterationOptions& options, std::vector<Parameters*> networks,
                      ReadLosses read, std::size_t bytes, std::size_t run_offset);
  ~StaticIterationBase() = default;

  void upload(const void* records, std::size_t bytes);
  void run_uploaded(const std::function<void()>& queue);

  Buffer<std::byte> records_;

 private:
  /// A copy of the ring of losses on its way to the host, for the runs after `before` up to `last`.
  struct LossCopy {
    std::int64_t before;
    std::int64_t last;
    std::size_t slot;
  };
  void queue(const std::function<void()>& work);
  void fetch();
  void read_fetched();

  Device device_;
  std::vector<Parameters*> networks_;
  ReadLosses read_;
  std::size_t run_offset_;
  PinnedRing uploads_;
  StaticInputs inputs_;
  Tensor losses_;     // of one run
  Tensor loss_ring_;  // of kLossRows runs; a run writes its row itself
  PinnedRing copies_;
  std::deque<LossCopy> fetched_;
  std::int64_t last_fetched_ = 0;
  std::int64_t runs_ = 0;
  std::vector<std::int64_t> counted_;  // by how much a run moves each counter of the networks
  StepGraph graph_;
};

/// An iteration whose changing numbers are `records` of Scalars, a trivially copyable struct.
template <class Scalars>
class StaticIteration : public StaticIterationBase {
  static_assert(std::is_trivially_copyable_v<Scalars>);
  struct Record {
    Scalars scalars;
    std::uint64_t run;
  };

 public:
  StaticIteration(const StaticIterationOptions& options, std::int64_t records,
                  std::vector<Parameters*> networks, ReadLosses read)
      : StaticIterationBase(options, std::move(networks), std::move(read), to_size(records) * sizeof(Record),
                            offsetof(Record, run)) {}

  /// Record i in the device's memory.
  [[nodiscard]] Scalars* scalars(std::int64_t i) const {
    return &reinterpret_cast<Record*>(records_.data())[i].scalars;
  }
  /// A member of a record, as a buffer: `count` numbers from `first` on.
  template <class U>
  [[nodiscard]] Buffer<U> part(const U* first, std::int64_t count) const {
    return records_.part(first, count);
  }

  /// Uploads one number for each record and queues the work, or its recording: `queue` runs where the work is
  /// eager or recorded, and may neither wait nor keep what it allocates. The host waits only where it has run
  /// too far ahead, and reads losses at the latest kLossRows runs after they were made.
  void run(std::span<const Scalars> scalars, const std::function<void()>& queue) {
    send(scalars);
    run_uploaded(queue);
  }
  /// The upload alone, perhaps of the first records only: for a part of an iteration on its own.
  void send(std::span<const Scalars> scalars) {
    std::vector<Record> all;
    for (const Scalars& s : scalars) all.push_back({s, static_cast<std::uint64_t>(runs())});
    upload(all.data(), all.size() * sizeof(Record));
  }
};

}  // namespace voxot
