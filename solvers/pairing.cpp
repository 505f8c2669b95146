#include "solvers/pairing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "solvers/exact_ot.h"

namespace voxot {
namespace {

/// The samples of one label in one batch, and the plan between them.
struct Group {
  std::size_t batch = 0;
  std::vector<std::int64_t> sources;
  std::vector<std::int64_t> targets;
  Tensor placed_cost;  // sources × targets, where the features lie
  Tensor cost;         // the same on the host
  Tensor plan;         // the same, of mass 1
  std::vector<double> f, g;
  double marginal_error = 0;
  double primal = 0;  // of mass 1, as the dual
  double dual = 0;
  double exact_cost = std::numeric_limits<double>::quiet_NaN();
  std::int64_t iterations = 0;
  bool converged = true;
  std::vector<std::int64_t> permutation;  // where the exact plan is one

  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(sources.size()); }
  [[nodiscard]] std::int64_t columns() const { return static_cast<std::int64_t>(targets.size()); }
};

/// N×D.
Tensor flat(const Tensor& features, const char* what) {
  VOXOT_CHECK(features.defined() && features.shape().rank() >= 1 && features.count() > 0,
              "pair: the {} features are empty", what);
  const std::int64_t n = features.extent(0);
  return features.reshaped({n, features.count() / n});
}

template <class Body>
void with_float(DType dtype, Body&& body) {
  if (dtype == DType::f64) return body.template operator()<double>();
  VOXOT_CHECK(dtype == DType::f32, "pair: expected features in fp32 or fp64, got {}", name_of(dtype));
  body.template operator()<float>();
}

Tensor rows_of(const Tensor& features, const std::vector<std::int64_t>& rows) {
  const Tensor here = features.to(Device::cpu);
  const std::int64_t width = features.extent(1);
  Tensor chosen = Tensor::empty({static_cast<std::int64_t>(rows.size()), width}, features.dtype());
  with_float(features.dtype(), [&]<class T>() {
    T* to = chosen.as<T>();
    for (const std::int64_t row : rows) to = std::copy_n(here.as<T>() + row * width, width, to);
  });
  return chosen;
}

/// The groups of one batch, by label.
std::vector<Group> groups_of(const PairingBatch& batch, std::size_t index, std::int64_t n, std::int64_t m) {
  const auto size = [](std::int64_t count) { return static_cast<std::size_t>(count); };
  const bool labelled = !batch.source_labels.empty() || !batch.target_labels.empty();
  VOXOT_CHECK(!labelled || (batch.source_labels.size() == size(n) && batch.target_labels.size() == size(m)),
              "pair: {} source labels for {} samples, {} target labels for {}", batch.source_labels.size(), n,
              batch.target_labels.size(), m);
  std::map<std::int64_t, Group> by_label;
  for (std::int64_t i = 0; i < n; ++i)
    by_label[labelled ? batch.source_labels[size(i)] : 0].sources.push_back(i);
  for (std::int64_t j = 0; j < m; ++j)
    by_label[labelled ? batch.target_labels[size(j)] : 0].targets.push_back(j);
  std::vector<Group> groups;
  for (auto& [label, group] : by_label) {
    VOXOT_CHECK(!group.sources.empty() && !group.targets.empty(),
                "pair: label {} has {} source samples and {} target samples; both need one", label,
                group.sources.size(), group.targets.size());
    group.batch = index;
    groups.push_back(std::move(group));
  }
  return groups;
}

/// The exact plan of uniform weights, its value for mass 1.
TransportPlan solve_exactly(const Group& group) {
  const auto weights = [](std::int64_t count) {
    return std::vector<double>(static_cast<std::size_t>(count), 1.0 / static_cast<double>(count));
  };
  const auto a = weights(group.rows());
  const auto b = weights(group.columns());
  const auto count = static_cast<std::size_t>(group.cost.count());
  return group.cost.dtype() == DType::f64
             ? exact_plan(std::span<const double>(group.cost.as<double>(), count), a, b)
             : exact_plan(std::span<const float>(group.cost.as<float>(), count), a, b);
}

void take_exact(Group& group, const TransportPlan& exact, bool as_plan) {
  group.exact_cost = exact.certificate.primal;
  if (!as_plan) return;
  group.f = exact.row_potential;
  group.g = exact.column_potential;
  group.primal = exact.certificate.primal;
  group.dual = exact.certificate.dual;
  group.marginal_error = exact.certificate.marginal_error;
  group.plan = Tensor::full({group.rows(), group.columns()}, 0.0, group.cost.dtype());
  with_float(group.cost.dtype(), [&]<class T>() {
    for (const PlanEntry& entry : exact.entries)
      group.plan.as<T>()[entry.row * group.columns() + entry.column] = static_cast<T>(entry.mass);
  });
  if (group.rows() != group.columns()) return;
  group.permutation.resize(group.sources.size());
  for (const PlanEntry& entry : exact.entries)
    group.permutation[static_cast<std::size_t>(entry.row)] = entry.column;
}

void solve(std::vector<Group>& groups, const PairingOptions& options) {
  const bool exact = options.plan == PairingPlan::exact;
  if (exact || options.compare_exact) {
    std::vector<TransportPlan> plans(groups.size());
#pragma omp parallel for schedule(dynamic)
    for (std::size_t k = 0; k < groups.size(); ++k) plans[k] = solve_exactly(groups[k]);
    for (std::size_t k = 0; k < groups.size(); ++k) take_exact(groups[k], plans[k], exact);
  }
  if (exact) return;
  SinkhornOptions sinkhorn_options = options.sinkhorn;
  sinkhorn_options.plan = true;
  std::vector<SinkhornProblem> problems;
  problems.reserve(groups.size());
  for (const Group& group : groups) problems.push_back({.cost = group.placed_cost});
  std::vector<SinkhornResult> results = sinkhorn(problems, sinkhorn_options);
  for (std::size_t k = 0; k < groups.size(); ++k) {
    Group& group = groups[k];
    group.plan = results[k].plan.to(Device::cpu);
    group.f = std::move(results[k].f);
    group.g = std::move(results[k].g);
    group.marginal_error = results[k].marginal_error;
    group.primal = results[k].primal;
    group.dual = results[k].dual;
    group.iterations = results[k].iterations;
    group.converged = results[k].converged;
  }
}

/// The row's element at which the running sum passes `share` of the row's sum.
template <class T>
std::int64_t at_share(std::span<const T> row, double share) {
  const double wanted = share * std::accumulate(row.begin(), row.end(), 0.0);
  double sum = 0;
  std::int64_t last = 0;
  for (std::size_t j = 0; j < row.size(); ++j) {
    if (!(row[j] > 0)) continue;
    last = static_cast<std::int64_t>(j);
    sum += static_cast<double>(row[j]);
    if (sum > wanted) break;
  }
  return last;
}

/// The permutation that collects most of the plan's mass.
std::vector<std::int64_t> heaviest_permutation(const Group& group) {
  std::vector<double> cost(static_cast<std::size_t>(group.plan.count()));
  with_float(group.plan.dtype(), [&]<class T>() {
    // In units of a uniform element, so that no cost is lost beside the others.
    const double unit = static_cast<double>(group.plan.count());
    std::transform(group.plan.as<T>(), group.plan.as<T>() + cost.size(), cost.begin(),
                   [=](T mass) { return -unit * static_cast<double>(mass); });
  });
  return assign(cost, group.rows()).partner;
}

std::vector<std::int64_t> choose(const Group& group, const PairingOptions& options, std::uint64_t draw) {
  if (options.rule == PartnerRule::permutation) {
    VOXOT_CHECK(group.rows() == group.columns(),
                "pair: a permutation pairs sets of equal size, got {} source and {} target samples",
                group.rows(), group.columns());
    return group.permutation.empty() ? heaviest_permutation(group) : group.permutation;
  }
  std::vector<std::int64_t> partner(group.sources.size());
  with_float(group.plan.dtype(), [&]<class T>() {
    for (std::int64_t i = 0; i < group.rows(); ++i) {
      const std::span<const T> row(group.plan.as<T>() + i * group.columns(), group.targets.size());
      std::int64_t& chosen = partner[static_cast<std::size_t>(i)];
      if (options.rule == PartnerRule::maximum) {
        chosen = std::max_element(row.begin(), row.end()) - row.begin();
      } else {
        // By the sample's place in its batch: with or without labels it sees the same number.
        const auto place = static_cast<std::uint64_t>(group.sources[static_cast<std::size_t>(i)]);
        chosen = at_share(row, Random(options.seed, Purpose::pairing, (draw << 20) + place).uniform());
      }
    }
  });
  return partner;
}

/// Sums over a batch's plan; a group has the share of the mass that its sources are of the batch.
struct PlanSums {
  double entropy = 0;
  double effective_partners = 0;
};

PlanSums measure(const Group& group, double share) {
  PlanSums sums;
  with_float(group.plan.dtype(), [&]<class T>() {
    for (std::int64_t i = 0; i < group.rows(); ++i) {
      const std::span<const T> row(group.plan.as<T>() + i * group.columns(), group.targets.size());
      const double mass = std::accumulate(row.begin(), row.end(), 0.0);
      double of_row = 0;
      for (const T element : row) {
        if (!(element > 0)) continue;
        const double p = static_cast<double>(element);
        of_row -= p / mass * std::log(p / mass);
        sums.entropy -= share * p * std::log(share * p);
      }
      sums.effective_partners += std::exp(of_row);
    }
  });
  return sums;
}

void add_group(const Group& group, const PairingOptions& options, std::uint64_t draw, Pairing& pairing,
               std::vector<std::int64_t>& uses) {
  const auto n = static_cast<double>(pairing.partner.size());
  const double share = static_cast<double>(group.rows()) / n;
  const std::vector<std::int64_t> partner = choose(group, options, draw);
  PairingDiagnostics& d = pairing.diagnostics;
  with_float(group.cost.dtype(), [&]<class T>() {
    for (std::size_t i = 0; i < partner.size(); ++i) {
      const auto row = static_cast<std::size_t>(group.sources[i]);
      const std::int64_t target = group.targets[static_cast<std::size_t>(partner[i])];
      pairing.partner[row] = target;
      pairing.cost[row] = static_cast<double>(
          group.cost.as<T>()[static_cast<std::int64_t>(i) * group.columns() + partner[i]]);
      d.cost += pairing.cost[row] / n;
      d.most_reused = std::max(d.most_reused, ++uses[static_cast<std::size_t>(target)]);
    }
    if (!pairing.plan.defined()) return;
    for (std::int64_t i = 0; i < group.rows(); ++i) {
      T* row = pairing.plan.as<T>() + group.sources[static_cast<std::size_t>(i)] * pairing.plan.extent(1);
      for (std::int64_t j = 0; j < group.columns(); ++j) {
        row[group.targets[static_cast<std::size_t>(j)]] =
            static_cast<T>(share * static_cast<double>(group.plan.as<T>()[i * group.columns() + j]));
      }
    }
  });
  const auto place = [](const std::vector<double>& from, const std::vector<std::int64_t>& at,
                        std::vector<double>& to) {
    for (std::size_t k = 0; k < at.size(); ++k) to[static_cast<std::size_t>(at[k])] = from[k];
  };
  place(group.f, group.sources, pairing.f);
  place(group.g, group.targets, pairing.g);
  const PlanSums sums = measure(group, share);
  d.plan_entropy += sums.entropy;
  d.effective_partners += sums.effective_partners / n;
  d.exact_cost += share * group.exact_cost;
  pairing.marginal_error = std::max(pairing.marginal_error, group.marginal_error);
  pairing.iterations = std::max(pairing.iterations, group.iterations);
  pairing.converged = pairing.converged && group.converged;
}

/// The batches' groups with their costs.
std::vector<Group> prepare(std::span<const PairingBatch> batches, const PairingOptions& options,
                           std::vector<Pairing>& pairings, std::vector<std::vector<std::int64_t>>& uses) {
  std::vector<Group> groups;
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const Tensor source = flat(batches[b].source, "source");
    const Tensor target = flat(batches[b].target, "target");
    VOXOT_CHECK(source.extent(1) == target.extent(1) && source.dtype() == target.dtype() &&
                    source.device() == target.device(),
                "pair: source features {} {} on {}, target features {} {} on {}; expected the same device, "
                "type and extents after the first",
                batches[b].source.shape().text(), name_of(source.dtype()), name_of(source.device()),
                batches[b].target.shape().text(), name_of(target.dtype()), name_of(target.device()));
    const std::int64_t n = source.extent(0);
    const std::int64_t m = target.extent(0);
    VOXOT_CHECK(n <= (std::int64_t{1} << 20), "pair: {} samples in a batch; at most 2^20", n);
    for (Group& group : groups_of(batches[b], b, n, m)) {
      const bool all = group.rows() == n && group.columns() == m;
      group.placed_cost =
          all ? pairwise_cost(source, target, options.cost)
              : pairwise_cost(rows_of(source, group.sources).to(source.device()),
                              rows_of(target, group.targets).to(source.device()), options.cost);
      group.cost = group.placed_cost.to(Device::cpu);
      groups.push_back(std::move(group));
    }
    pairings[b].partner.resize(static_cast<std::size_t>(n));
    pairings[b].cost.resize(static_cast<std::size_t>(n));
    pairings[b].f.resize(static_cast<std::size_t>(n));
    pairings[b].g.resize(static_cast<std::size_t>(m));
    uses[b].resize(static_cast<std::size_t>(m));
    if (options.keep_plan) pairings[b].plan = Tensor::full({n, m}, 0.0, source.dtype());
  }
  return groups;
}

}  // namespace

double PairingDiagnostics::gap() const {
  const double excess = cost - exact_cost;
  return excess == 0 ? 0 : excess / exact_cost;
}

std::vector<Pairing> pair(std::span<const PairingBatch> batches, const PairingOptions& options,
                          std::uint64_t first_draw) {
  VOXOT_CHECK(options.sinkhorn.hard(), "pair: expected hard marginals (infinite rho), got {} and {}",
              options.sinkhorn.rho_a, options.sinkhorn.rho_b);
  std::vector<Pairing> pairings(batches.size());
  std::vector<std::vector<std::int64_t>> uses(batches.size());
  std::vector<Group> groups = prepare(batches, options, pairings, uses);
  solve(groups, options);
  std::vector<double> primal(batches.size());
  std::vector<double> dual(batches.size());
  for (const Group& group : groups) {
    const std::size_t b = group.batch;
    add_group(group, options, first_draw + b, pairings[b], uses[b]);
    primal[b] += static_cast<double>(group.rows()) * group.primal;
    dual[b] += static_cast<double>(group.rows()) * group.dual;
  }
  for (std::size_t b = 0; b < batches.size(); ++b) {
    std::int64_t repeated = 0;
    for (const std::int64_t count : uses[b]) repeated += std::max<std::int64_t>(0, count - 1);
    pairings[b].diagnostics.reused =
        static_cast<double>(repeated) / static_cast<double>(pairings[b].partner.size());
    const double excess = std::max(0.0, primal[b] - dual[b]);
    pairings[b].duality_gap = excess == 0 ? 0 : excess / std::abs(primal[b]);
  }
  return pairings;
}

Pairing pair(const Tensor& source, const Tensor& target, const PairingOptions& options, std::uint64_t draw) {
  const PairingBatch batch{source, target};
  return std::move(pair(std::span(&batch, 1), options, draw).front());
}

}  // namespace voxot
