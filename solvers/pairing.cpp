#include "solvers/pairing.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "kernels/assignment.h"
#include "kernels/first_exception.h"
#include "kernels/sizes.h"
#include "solvers/exact_ot.h"
#include "solvers/pairing_groups.h"

namespace voxot {
namespace {

/// What comes to the host of every group's rows, one group behind the other.
struct Rows {
  std::vector<std::int32_t> partner;  // within the group
  std::vector<double> cost;           // of the pair
  std::vector<double> mass;           // of the plan's row
  std::vector<double> entropy;        // −Σ p·log p
};

template <class Body>
void with_float(DType dtype, Body&& body) {
  if (dtype == DType::f64) return body.template operator()<double>();
  body.template operator()<float>();
}

/// The exact plan of uniform weights, its value for mass 1; costs on the host.
TransportPlan solve_on_host(const Tensor& cost) {
  const auto weights = [](std::int64_t count) {
    return std::vector<double>(to_size(count), 1.0 / static_cast<double>(count));
  };
  const auto a = weights(cost.extent(0));
  const auto b = weights(cost.extent(1));
  const auto count = to_size(cost.count());
  return cost.dtype() == DType::f64 ? exact_plan(std::span<const double>(cost.as<double>(), count), a, b)
                                    : exact_plan(std::span<const float>(cost.as<float>(), count), a, b);
}

/// `share` turns the certificate's units of mass into shares of the group's mass 1.
void take_certificate(Group& group, const Certificate& certificate, double share, bool as_plan) {
  group.exact_cost = share * certificate.primal;
  if (!as_plan) return;
  group.primal = share * certificate.primal;
  group.dual = share * certificate.dual;
  group.largest_cost = share * certificate.scale;
  group.marginal_error = certificate.marginal_error;
  group.converged = certificate.proven();
}

void take_exact(Group& group, const TransportPlan& exact, bool as_plan) {
  take_certificate(group, exact.certificate, 1, as_plan);
  if (!as_plan) return;
  group.f = exact.row_potential;
  group.g = exact.column_potential;
  if (group.rows() == group.columns()) {
    group.permutation.resize(to_size(group.rows()));
    for (const PlanEntry& entry : exact.entries)
      group.permutation[to_size(entry.row)] = static_cast<std::int32_t>(entry.column);
    return;
  }
  const Tensor plan = Tensor::full({group.rows(), group.columns()}, 0.0, group.cost.dtype());
  with_float(plan.dtype(), [&]<class T>() {
    for (const PlanEntry& entry : exact.entries)
      plan.as<T>()[entry.row * group.columns() + entry.column] = static_cast<T>(entry.mass);
  });
  group.plan = plan.to(group.cost.device());
}

/// Assignments of the groups that a GPU can solve, those of one size together. True of each group that is
/// done.
std::vector<char> solve_on_device(std::vector<Group>& groups, bool as_plan) {
  std::vector<char> done(groups.size());
  std::map<std::int64_t, std::vector<std::size_t>> by_size;
  for (std::size_t k = 0; k < groups.size(); ++k) {
    const Group& group = groups[k];
    if (group.cost.device() == Device::cpu || group.rows() != group.columns() ||
        group.rows() > kMostAssignedOnCuda)
      continue;
    by_size[group.rows()].push_back(k);
    done[k] = 1;
  }
  for (const auto& [n, members] : by_size) {
    const Tensor& like = groups[members.front()].cost;
    const Tensor costs = Tensor::empty({std::ssize(members), n, n}, like.dtype(), like.device());
    for (std::size_t k = 0; k < members.size(); ++k)
      costs.window(static_cast<std::int64_t>(k) * n * n, {n, n}).copy_from(groups[members[k]].cost);
    const std::vector<Assignment> assignments = assign_batch(costs);
    for (std::size_t k = 0; k < members.size(); ++k) {
      Group& group = groups[members[k]];
      take_certificate(group, assignments[k].certificate, 1 / static_cast<double>(n), as_plan);
      if (!as_plan) continue;
      group.f = assignments[k].row_potential;
      group.g = assignments[k].column_potential;
      group.permutation.assign(assignments[k].partner.begin(), assignments[k].partner.end());
    }
  }
  return done;
}

void solve_exactly(std::vector<Group>& groups, bool as_plan) {
  const std::vector<char> done = solve_on_device(groups, as_plan);
  std::vector<TransportPlan> plans(groups.size());
  std::vector<Tensor> costs(groups.size());
  for (std::size_t k = 0; k < groups.size(); ++k) {
    if (done[k] == 0) costs[k] = groups[k].cost.to(Device::cpu);
  }
  FirstException failed;
#pragma omp parallel for schedule(dynamic)
  for (std::size_t k = 0; k < groups.size(); ++k) {
    if (done[k] == 0) failed.guard([&] { plans[k] = solve_on_host(costs[k]); });
  }
  failed.rethrow();
  for (std::size_t k = 0; k < groups.size(); ++k) {
    if (done[k] == 0) take_exact(groups[k], plans[k], as_plan);
  }
}

void solve(std::vector<Group>& groups, const PairingOptions& options) {
  const bool exact = options.plan == PairingPlan::exact;
  if (exact || options.compare_exact) solve_exactly(groups, exact);
  if (exact) return;
  SinkhornOptions sinkhorn_options = options.sinkhorn;
  sinkhorn_options.plan = true;
  std::vector<SinkhornProblem> problems;
  problems.reserve(groups.size());
  for (const Group& group : groups) problems.push_back({.cost = group.cost});
  std::vector<SinkhornResult> results = sinkhorn(problems, sinkhorn_options);
  for (std::size_t k = 0; k < groups.size(); ++k) {
    Group& group = groups[k];
    group.plan = results[k].plan;
    group.f = std::move(results[k].f);
    group.g = std::move(results[k].g);
    group.marginal_error = results[k].marginal_error;
    group.primal = results[k].primal;
    group.dual = results[k].dual;
    group.iterations = results[k].iterations;
    group.converged = results[k].converged;
    group.epsilon = results[k].epsilon;
    group.largest_cost = results[k].largest_cost;
  }
}

/// A permutation's element of mass 1, in the plan's type.
double permutation_mass(const Group& group) {
  const double mass = 1.0 / static_cast<double>(group.rows());
  return group.cost.dtype() == DType::f64 ? mass : static_cast<double>(static_cast<float>(mass));
}

/// The permutation that collects most of the plan's mass, certified as every assignment is.
std::vector<std::int32_t> heaviest_permutation(const Tensor& plan) {
  Tensor cost = permutation_costs(plan);
  const std::int64_t n = plan.extent(0);
  if (n > kMostAssignedOnCuda) cost = cost.to(Device::cpu);
  const Assignment assignment = std::move(assign_batch(cost.reshaped({1, n, n})).front());
  return {assignment.partner.begin(), assignment.partner.end()};
}

/// Chooses the partners and sums up the rows where the plans lie, and brings both to the host.
Rows choose(const std::vector<Group>& groups, const std::vector<Sides>& batches,
            const PairingOptions& options, std::uint64_t first_draw) {
  if (groups.empty()) return {};
  const std::int64_t count = groups.back().first_row + groups.back().rows();
  const Device device = groups.front().cost.device();
  const Stream stream = groups.front().cost.stream();
  const Buffer<std::int32_t> partner(count, device);
  const Buffer<double> cost(count, device);
  const Buffer<double> mass(count, device);
  const Buffer<double> entropy(count, device);
  std::vector<std::vector<std::int32_t>> permutations(groups.size());  // until they are copied
  const auto copy = [&](std::int32_t* to, const std::vector<std::int32_t>& from) {
    kernels::copy_bytes(stream, to, from.data(), from.size() * sizeof(std::int32_t));
  };
  for (std::size_t k = 0; k < groups.size(); ++k) {
    const Group& group = groups[k];
    const DType dtype = group.cost.dtype();
    std::int32_t* const chosen = partner.data() + group.first_row;
    if (!group.permutation.empty()) {
      copy(chosen, group.permutation);
    } else if (options.rule == PartnerRule::permutation) {
      permutations[k] = heaviest_permutation(group.plan);
      copy(chosen, permutations[k]);
    } else {
      const Buffer<std::int32_t>& order = batches[group.batch].source.order;
      // The random number goes by the sample's place in its batch, so labels do not change it.
      const std::int32_t* const places = order.defined() ? order.data() + group.first_source : nullptr;
      choose_partners(group.plan, options.rule, {options.seed, Purpose::pairing, first_draw + group.batch},
                      places, chosen);
    }
    if (group.permutation.empty()) {
      kernels::plan_rows(stream, dtype, group.extent(), group.plan.data(), mass.data() + group.first_row,
                         entropy.data() + group.first_row);
    }
    kernels::pair_costs(stream, dtype, group.extent(), group.cost.data(), chosen,
                        cost.data() + group.first_row);
  }
  Rows rows{partner.to_host(), cost.to_host(), mass.to_host(), entropy.to_host()};
  for (const Group& group : groups) {
    if (group.permutation.empty()) continue;
    const double p = permutation_mass(group);
    std::fill_n(rows.mass.begin() + group.first_row, group.rows(), p);
    std::fill_n(rows.entropy.begin() + group.first_row, group.rows(), -p * std::log(p));
  }
  return rows;
}

/// Puts a group's part into the batch's plan. Its share of the mass is the share of its sources in the batch.
void keep_plan(const Group& group, const Sides& sides, double share, const Tensor& all) {
  const Tensor here = group.plan.defined() ? group.plan.to(Device::cpu).to(all.dtype()) : Tensor();
  with_float(all.dtype(), [&]<class T>() {
    for (std::int64_t i = 0; i < group.rows(); ++i) {
      T* const row = all.as<T>() + sides.source.sample(group.first_source + i) * all.extent(1);
      const auto put = [&](std::int64_t j, double mass) {
        row[sides.target.sample(group.first_target + j)] = static_cast<T>(share * mass);
      };
      if (!here.defined()) {
        put(group.permutation[to_size(i)], permutation_mass(group));
        continue;
      }
      for (std::int64_t j = 0; j < group.columns(); ++j)
        put(j, static_cast<double>(here.as<T>()[i * group.columns() + j]));
    }
  });
}

void add_group(const Group& group, const Sides& sides, const Rows& rows, Pairing& pairing,
               std::vector<std::int64_t>& uses) {
  const auto n = static_cast<double>(pairing.partner.size());
  const double share = static_cast<double>(group.rows()) / n;
  PairingDiagnostics& d = pairing.diagnostics;
  for (std::int64_t i = 0; i < group.rows(); ++i) {
    const auto at = to_size(group.first_row + i);
    const auto source = to_size(sides.source.sample(group.first_source + i));
    const std::int64_t target = sides.target.sample(group.first_target + rows.partner[at]);
    pairing.partner[source] = target;
    pairing.f[source] = group.f[to_size(i)];
    pairing.cost[source] = rows.cost[at];
    d.cost += rows.cost[at] / n;
    d.most_reused = std::max(d.most_reused, ++uses[to_size(target)]);
    // −Σ q·log q of q = share·p, and of q = p/mass.
    d.plan_entropy += share * (rows.entropy[at] - std::log(share) * rows.mass[at]);
    // A row without mass, as an unfinished plan may have, counts as one partner.
    const double mass = rows.mass[at];
    d.effective_partners += (mass > 0 ? std::exp(rows.entropy[at] / mass + std::log(mass)) : 1) / n;
  }
  for (std::int64_t j = 0; j < group.columns(); ++j) {
    const std::int64_t target = sides.target.sample(group.first_target + j);
    pairing.g[to_size(target)] = group.g[to_size(j)];
  }
  if (pairing.plan.defined()) keep_plan(group, sides, share, pairing.plan);
  d.exact_cost += share * group.exact_cost;
  pairing.marginal_error = worse(pairing.marginal_error, group.marginal_error);
  pairing.iterations = std::max(pairing.iterations, group.iterations);
  pairing.converged = pairing.converged && group.converged;
  pairing.epsilon = std::max(pairing.epsilon, group.epsilon);
  pairing.primal += share * group.primal;
  pairing.dual += share * group.dual;
}

/// What the batch's groups say together.
Pairing gathered(std::span<const Group> groups, const Sides& sides, const Rows& rows, bool with_plan) {
  Pairing pairing;
  const std::int64_t n = sides.source.features.extent(0);
  const std::int64_t m = sides.target.features.extent(0);
  pairing.partner.resize(to_size(n));
  pairing.cost.resize(to_size(n));
  pairing.f.resize(to_size(n));
  pairing.g.resize(to_size(m));
  if (with_plan) pairing.plan = Tensor::full({n, m}, 0.0, sides.source.features.dtype());
  std::vector<std::int64_t> uses(to_size(m));
  double scale = 0;
  for (const Group& group : groups) {
    add_group(group, sides, rows, pairing, uses);
    // Costs may all be 0, and ε is never.
    scale += static_cast<double>(group.rows()) / static_cast<double>(n) *
             std::max(group.largest_cost, group.epsilon);
  }
  std::int64_t repeated = 0;
  for (const std::int64_t count : uses) repeated += std::max<std::int64_t>(0, count - 1);
  pairing.diagnostics.reused = static_cast<double>(repeated) / static_cast<double>(n);
  pairing.duality_gap = gap_over(pairing.primal, pairing.dual, std::max(std::abs(pairing.primal), scale));
  return pairing;
}

/// As pairwise_cost() does where the costs lie on the CPU.
void check_kept(const Group& group, const Sides& sides, const PairingOptions& options) {
  if (group.cost.device() == Device::cpu) return;
  const std::int64_t d = sides.source.features.extent(1);
  const DType dtype = group.cost.dtype();
  check_costs_kept(sides.source.features.window(group.first_source * d, {group.rows(), d}).to(dtype),
                   sides.target.features.window(group.first_target * d, {group.columns(), d}).to(dtype),
                   options.cost, group.largest_cost);
}

}  // namespace

double PairingDiagnostics::gap() const {
  const double excess = cost - exact_cost;
  return excess == 0 ? 0 : excess / exact_cost;
}

std::vector<Pairing> pair(std::span<const PairingBatch> batches, const PairingOptions& options,
                          std::uint64_t first_draw) {
  check_pairing(options);
  std::vector<Sides> sides;
  sides.reserve(batches.size());
  for (const PairingBatch& batch : batches) sides.push_back(sides_of(batch));
  std::vector<Group> groups = groups_of(sides, options);
  for (const Group& group : groups) {
    VOXOT_CHECK(options.rule != PartnerRule::permutation || group.rows() == group.columns(),
                "pair: a permutation pairs sets of equal size, got {} source and {} target samples",
                group.rows(), group.columns());
    VOXOT_CHECK(group.cost.device() == groups.front().cost.device(), "pair: batches on {} and {}",
                name_of(groups.front().cost.device()), name_of(group.cost.device()));
  }
  solve(groups, options);
  for (const Group& group : groups) check_kept(group, sides[group.batch], options);
  const Rows rows = choose(groups, sides, options, first_draw);
  std::vector<Pairing> pairings;
  auto first = groups.begin();
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const auto last = std::find_if(first, groups.end(), [b](const Group& g) { return g.batch != b; });
    pairings.push_back(gathered(std::span(first, last), sides[b], rows, options.keep_plan));
    first = last;
  }
  return pairings;
}

Pairing pair(const Tensor& source, const Tensor& target, const PairingOptions& options, std::uint64_t draw) {
  const PairingBatch batch{source, target};
  return std::move(pair(std::span(&batch, 1), options, draw).front());
}

}  // namespace voxot
