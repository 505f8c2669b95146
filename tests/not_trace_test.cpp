// Ten outer steps of strong neural OT against PyTorch (tests/goldens/README.md, not_trace).
#include "kernels/sizes.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"
#include "solvers/neural_ot.h"
#include "tests/golden.h"

using namespace voxot;
using namespace voxot::test;

namespace {

constexpr std::int64_t kOuter = 10;
constexpr std::int64_t kInner = 2;
constexpr std::int64_t kBatch = 4;

/// The named volumes of the pool: 3×8×8×8, every voxel repeated twice along D, H and W.
Tensor batch(const Golden& g, std::span<const std::int64_t> index, DType dtype) {
  const std::vector<double> pool = g.values("pool");
  std::vector<double> values;
  for (const std::int64_t i : index) {
    for (std::int64_t v = 0; v < 16 * 16 * 16 * 3; ++v) {
      const std::int64_t d = v / 3 / 256;
      const std::int64_t h = v / 3 / 16 % 16;
      const std::int64_t w = v / 3 % 16;
      const std::int64_t from = (((i * 3 + v % 3) * 8 + d / 2) * 8 + h / 2) * 8 + w / 2;
      values.push_back(pool[to_size(from)]);
    }
  }
  return Tensor::from({kBatch, 16, 16, 16, 3}, std::span<const double>(values), dtype);
}

struct Trace {
  std::vector<double> transport, potential;
  std::map<std::string, HostArray> final_transport, final_potential;
};

Trace run(const Golden& g, double learning_rate, DType dtype) {
  UNet3DOptions map_options;
  map_options.base = 4;
  ResNet3DOptions f_options;
  f_options.nf = 4;
  f_options.nf_max = 8;
  const auto map = make_trainable<UNet3D>(map_options, Device::cpu, dtype);
  const auto f = make_trainable<ResNet3D>(f_options, Device::cpu, dtype);
  load_state_dict(*map, g.below("initial_transport."), "golden");
  load_state_dict(*f, g.below("initial_potential."), "golden");
  OptimizerOptions adam;
  adam.learning_rate = learning_rate;
  adam.params.weight_decay = 1e-10;
  NeuralOtOptions options;
  options.inner_steps = kInner;
  options.batch_size = kBatch;
  NeuralOt solver(options, {map, f, std::make_shared<QuadraticCost>(), adam, adam, {}, {}});
  const auto source = g.integers("source_index");
  const auto target = g.integers("target_index");
  const auto rows = [](const std::vector<std::int64_t>& index, std::int64_t row) {
    return std::span(index).subspan(to_size(row * kBatch), kBatch);
  };
  Trace trace;
  for (std::int64_t o = 0; o < kOuter; ++o) {
    const std::int64_t first = o * (kInner + 1);
    for (std::int64_t k = 0; k < kInner; ++k) {
      trace.transport.push_back(solver.transport_step(batch(g, rows(source, first + k), dtype), 0));
    }
    trace.potential.push_back(solver.potential_step(batch(g, rows(source, first + kInner), dtype),
                                                    batch(g, rows(target, o), dtype), 0));
  }
  trace.final_transport = state_dict(*map);
  trace.final_potential = state_dict(*f);
  return trace;
}

void check_final(const Golden& g, const std::string& prefix, const std::map<std::string, HostArray>& state) {
  const auto expected = g.below(prefix);
  CHECK(expected.size() == state.size());
  for (const auto& [name, array] : expected) {
    INFO(prefix << name);
    // Weights are stored in fp32 (6e-8) at both ends.
    CHECK(distance(doubles(state.at(name)), doubles(array)) < 1e-6);
  }
}

}  // namespace

TEST_CASE("not_trace: in double, every loss and the final weights", "[not_trace][neural_ot][slow]") {
  const Golden g("not_trace");
  const Trace trace = run(g, 1e-3, DType::f64);
  // In double the trajectory is determined; what differs is the fp32 storage of the golden.
  CHECK(distance(trace.transport, g.values("lr1e-3.loss_transport")) < 1e-6);
  CHECK(distance(trace.potential, g.values("lr1e-3.loss_potential")) < 1e-6);
  const auto transport = g.values("lr1e-3.loss_transport");
  for (std::size_t i = 0; i < transport.size(); ++i) {
    CHECK(trace.transport[i] == Approx(transport[i]).epsilon(1e-6).margin(1e-7));
  }
  check_final(g, "lr1e-3.final_transport.", trace.final_transport);
  check_final(g, "lr1e-3.final_potential.", trace.final_potential);
}

TEST_CASE("not_trace: in fp32, every loss at the published rate", "[not_trace][neural_ot]") {
  const Golden g("not_trace");
  const Trace trace = run(g, 1e-4, DType::f32);
  const auto check = [&](const std::vector<double>& got, const std::string& name) {
    const auto expected = g.values("lr1e-4." + name);
    const auto spread = g.values("lr1e-4." + name + "_fp32_spread");
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) {
      INFO(name << " " << i << ": got " << got[i] << ", expected " << expected[i] << ", spread "
                << spread[i]);
      // The loop amplifies rounding: four orders of summation in PyTorch's fp32 differ by `spread` from its
      // double.
      CHECK(std::abs(got[i] - expected[i]) < std::max(1e-5, 4 * spread[i]));
    }
  };
  check(trace.transport, "loss_transport");
  check(trace.potential, "loss_potential");
}
