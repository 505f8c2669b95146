// The form of solvers/pairing.h that waits for nothing.
#include "kernels/assignment.h"
#include "solvers/pairing_groups.h"

namespace voxot {
namespace {

/// 1/n each, added up as sinkhorn() does.
double uniform_mass(std::int64_t n) {
  double mass = 0;
  for (std::int64_t i = 0; i < n; ++i) mass += 1 / static_cast<double>(n);
  return mass;
}

void queue_exact(QueuedPairing& pairing) {
  const std::int64_t n = pairing.cost.extent(0);
  const Device device = pairing.cost.device();
  const Buffer<double> f(n, device);
  const Buffer<double> g(n, device);
  kernels::assignment(pairing.cost.stream(), pairing.cost.dtype(), {.count = 1, .n = n},
                      {.cost = pairing.cost.data(),
                       .column_of_row = pairing.partner.data(),
                       .row_potential = f.data(),
                       .column_potential = g.data()});
}

void queue_sinkhorn(QueuedPairing& pairing, const SinkhornParams& params) {
  const std::int64_t n = pairing.cost.extent(0);
  const std::int64_t m = pairing.cost.extent(1);
  const Device device = pairing.cost.device();
  const double columns_share = 1 / static_cast<double>(m) * (uniform_mass(n) / uniform_mass(m));
  const Tensor a = Tensor::full({n}, 1 / static_cast<double>(n), DType::f64, device);
  const Tensor b = Tensor::full({m}, columns_share, DType::f64, device);
  const Tensor f = Tensor::full({n}, 0, DType::f64, device);
  const Tensor g = Tensor::full({m}, 0, DType::f64, device);
  pairing.status = Buffer<SinkhornStatus>(1, device);
  pairing.plan = Tensor::empty({n, m}, pairing.cost.dtype(), device);
  kernels::sinkhorn_queued(
      pairing.cost.stream(), pairing.cost.dtype(), params,
      {.rows = n,
       .columns = m,
       .cost = pairing.cost.data(),
       .sides = {.a = a.as<double>(), .b = b.as<double>(), .f = f.as<double>(), .g = g.as<double>()},
       .status = pairing.status.data(),
       .plan = pairing.plan.data()});
}

}  // namespace

QueuedPairing queue_pairing(const Tensor& source, const Tensor& target, const PairingOptions& options,
                            const std::uint64_t* draw) {
  check_pairing(options);
  const PairFeatures features = pair_features(source, target);
  const std::int64_t n = features.source.extent(0);
  const std::int64_t m = features.target.extent(0);
  const Device device = features.source.device();
  VOXOT_CHECK(n == m || (options.plan == PairingPlan::sinkhorn && options.rule != PartnerRule::permutation),
              "pair: a permutation pairs sets of equal size, got {} source and {} target samples", n, m);
  VOXOT_CHECK(device == Device::cpu || (n <= kMostQueuedOnCuda && m <= kMostQueuedOnCuda),
              "pair: {} and {} samples to pair without the host; cuda takes up to {}", n, m,
              kMostQueuedOnCuda);
  static_assert(kMostQueuedOnCuda <= kMostAssignedOnCuda);
  QueuedPairing pairing;
  pairing.cost = pairing_cost(features.source, features.target, options);
  pairing.partner = Buffer<std::int32_t>(n, device);
  if (options.plan == PairingPlan::exact) {
    queue_exact(pairing);
    return pairing;
  }
  queue_sinkhorn(pairing, options.sinkhorn);
  choose_partners(pairing.plan, options.rule, {options.seed, Purpose::pairing, 0, draw}, nullptr,
                  pairing.partner.data());
  return pairing;
}

}  // namespace voxot
