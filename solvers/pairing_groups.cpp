#include "solvers/pairing_groups.h"

#include <array>
#include <map>

#include "kernels/sizes.h"
#include "kernels/sort.h"

namespace voxot {
namespace {

Tensor flat(const Tensor& features, const char* what) {
  VOXOT_CHECK(features.defined() && features.shape().rank() >= 1 && features.count() > 0,
              "pair: the {} features are empty", what);
  const std::int64_t n = features.extent(0);
  return features.reshaped({n, features.count() / n});
}

/// Queues the order of a side's samples by label, and brings the groups to the host.
Side side_of(const Tensor& features, const Buffer<std::int64_t>& labels) {
  const std::int64_t n = features.extent(0);
  if (labels.count() == 0) return {features, {}, {}, {0}, {0, static_cast<std::int32_t>(n)}};
  VOXOT_CHECK(labels.device() == features.device(), "pair: labels on {}, features on {}",
              name_of(labels.device()), name_of(features.device()));
  Side side;
  side.order = Buffer<std::int32_t>(n, labels.device());
  const Buffer<std::int32_t> count(1, labels.device());
  const Buffer<std::int64_t> keys(n, labels.device());
  const Buffer<std::int32_t> starts(n + 1, labels.device());
  kernels::group_by_key(labels.stream(), {.n = n,
                                          .keys = labels.data(),
                                          .order = side.order.data(),
                                          .count = count.data(),
                                          .group_keys = keys.data(),
                                          .starts = starts.data()});
  side.features = gather_rows(features, side.order);
  side.host_order = side.order.to_host();
  side.labels = keys.to_host();
  side.starts = starts.to_host();
  const auto groups = to_size(count.to_host().front());
  side.labels.resize(groups);
  side.starts.resize(groups + 1);
  return side;
}

/// The samples of a side that have a label.
struct Stretch {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

/// For each label in ascending order its samples on both sides.
std::map<std::int64_t, std::array<Stretch, 2>> by_label(const Sides& sides) {
  std::map<std::int64_t, std::array<Stretch, 2>> all;
  for (const std::size_t s : {0U, 1U}) {
    const Side& side = s == 0 ? sides.source : sides.target;
    for (std::size_t g = 0; g < side.labels.size(); ++g)
      all[side.labels[g]][s] = {side.starts[g], side.starts[g + 1] - side.starts[g]};
  }
  for (const auto& [label, stretches] : all) {
    VOXOT_CHECK(stretches[0].count > 0 && stretches[1].count > 0,
                "pair: label {} has {} source samples and {} target samples; both need one", label,
                stretches[0].count, stretches[1].count);
  }
  return all;
}

}  // namespace

PairFeatures pair_features(const Tensor& source, const Tensor& target) {
  const PairFeatures f{flat(source, "source"), flat(target, "target")};
  VOXOT_CHECK(f.source.extent(1) == f.target.extent(1) && f.source.dtype() == f.target.dtype() &&
                  f.source.device() == f.target.device(),
              "pair: source features {} {} on {}, target features {} {} on {}; expected the same device, "
              "type and extents after the first",
              source.shape().text(), name_of(source.dtype()), name_of(source.device()), target.shape().text(),
              name_of(target.dtype()), name_of(target.device()));
  VOXOT_CHECK(f.source.dtype() != DType::bf16, "pair: expected features in fp32 or fp64, got bf16");
  constexpr std::int64_t kMost = std::int64_t{1} << 20;
  VOXOT_CHECK(f.source.extent(0) <= kMost && f.target.extent(0) <= kMost,
              "pair: {} and {} samples in a batch; at most 2^20", f.source.extent(0), f.target.extent(0));
  return f;
}

void check_pairing(const PairingOptions& options) {
  VOXOT_CHECK(options.sinkhorn.hard(), "pair: expected hard marginals (infinite rho), got {} and {}",
              options.sinkhorn.rho_a, options.sinkhorn.rho_b);
}

Sides sides_of(const PairingBatch& batch) {
  const PairFeatures features = pair_features(batch.source, batch.target);
  const std::int64_t n = features.source.extent(0);
  const std::int64_t m = features.target.extent(0);
  const std::int64_t labels = batch.source_labels.count();
  const std::int64_t target_labels = batch.target_labels.count();
  VOXOT_CHECK((labels == 0 && target_labels == 0) || (labels == n && target_labels == m),
              "pair: {} source labels for {} samples, {} target labels for {}", labels, n, target_labels, m);
  return {side_of(features.source, batch.source_labels), side_of(features.target, batch.target_labels)};
}

Tensor pairing_cost(const Tensor& source, const Tensor& target, const PairingOptions& options) {
  const bool wide = options.plan == PairingPlan::exact || options.cost == GroundCost::cosine;
  if (!wide || source.dtype() == DType::f64) return pairwise_cost(source, target, options.cost);
  return pairwise_cost(source.to(DType::f64), target.to(DType::f64), options.cost);
}

std::vector<Group> groups_of(const std::vector<Sides>& batches, const PairingOptions& options) {
  std::vector<Group> groups;
  std::int64_t row = 0;
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const auto window = [](const Side& side, const Stretch& s) {
      const std::int64_t width = side.features.extent(1);
      return side.features.window(s.first * width, {s.count, width});
    };
    for (const auto& [label, stretches] : by_label(batches[b])) {
      Group group;
      group.batch = b;
      group.first_source = stretches[0].first;
      group.first_target = stretches[1].first;
      group.first_row = row;
      group.cost = pairing_cost(window(batches[b].source, stretches[0]),
                                window(batches[b].target, stretches[1]), options);
      row += group.rows();
      groups.push_back(std::move(group));
    }
  }
  return groups;
}

}  // namespace voxot
