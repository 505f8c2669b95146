// The outer iteration as a static step: the same losses on a GPU, real or emulated, as on the CPU, recorded
// as a graph and eagerly; and what it is made of: graphs, pools, pinned staging, numbers in device memory.
#include "datasets/device_samples.h"
#include "engine/graph.h"
#include "engine/staging.h"
#include "kernels/elementwise.h"
#include "models/mlp.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"
#include "solvers/neural_ot.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

Tensor values_on(Device device, const std::vector<double>& values, DType dtype = DType::f64) {
  return Tensor::from({std::ssize(values)}, std::span<const double>(values), dtype, device);
}

constexpr std::int64_t kIterations = 10;

struct TraceCase {
  bool weak = false;
  bool voxels = false;    // UNet3D and ResNet3D, else two perceptrons
  bool bounded = false;   // with a gradient penalty and noise on x
  bool spectral = false;  // with spectral normalisation and a drift penalty
};

std::array<std::int64_t, 4> sample(const TraceCase& c) {
  return c.voxels ? std::array<std::int64_t, 4>{8, 8, 8, 2} : std::array<std::int64_t, 4>{1, 2, 2, 3};
}

Sampler sampler(const TraceCase& c, Purpose purpose, double mean) {
  return [s = sample(c), purpose, mean](std::uint64_t draw, std::int64_t n) {
    return Tensor::normal({n, s[0], s[1], s[2], s[3]}, {3, purpose, draw}, mean, 0.5);
  };
}

/// The networks of a case, with initial values.
std::pair<std::shared_ptr<TransportMap>, std::shared_ptr<Potential>> networks(const TraceCase& c,
                                                                              std::uint64_t seed) {
  std::shared_ptr<TransportMap> map;
  std::shared_ptr<Potential> f;
  const auto s = sample(c);
  if (c.voxels) {
    UNet3DOptions u;
    u.channels = s[3];
    u.noise_channels = c.weak ? 1 : 0;
    u.base = 2;
    u.residual = true;
    map = std::make_shared<UNet3D>(u);
    ResNet3DOptions r;
    r.channels = s[3];
    r.extent = {s[0], s[1], s[2]};
    r.nf = 2;
    r.nf_max = 4;
    r.spectral_normalisation = c.spectral;
    f = std::make_shared<ResNet3D>(r);
  } else {
    MlpOptions m;
    m.volume = s;
    m.hidden = {16, 16};
    m.spectral_normalisation = c.spectral;
    f = std::make_shared<MlpPotential>(m);
    m.noise_channels = c.weak ? 1 : 0;
    map = std::make_shared<MlpMap>(m);
  }
  Initialiser first(Initialisation::pytorch_default, seed, 0);
  map->initialise(first);
  Initialiser second(Initialisation::pytorch_default, seed, 1);
  f->initialise(second);
  return {map, f};
}

struct Run {
  Run(const TraceCase& c, Device device, bool graph, std::uint64_t seed = 5)
      : Run(c, device, graph, seed, sampler(c, Purpose::source_samples, 0),
            sampler(c, Purpose::target_samples, 0.3)) {}
  Run(const TraceCase& c, Device device, bool graph, std::uint64_t seed, const Sampler& source,
      const Sampler& target)
      : Run(c, device, graph, networks(c, seed), source, target) {}
  Run(const TraceCase& c, Device device, bool graph,
      const std::pair<std::shared_ptr<TransportMap>, std::shared_ptr<Potential>>& networks,
      const Sampler& source, const Sampler& target)
      : map(networks.first, device),
        f(networks.second, device),
        solver(options(c, graph), {map, f, cost(c), adam(c.voxels ? 1e-4 : 1e-3),
                                   adam(c.voxels ? 1e-4 : 1e-3), source, target}) {}
  static std::shared_ptr<const Cost> cost(const TraceCase& c) {
    if (c.weak) return std::make_shared<WeakQuadraticCost>();
    return std::make_shared<QuadraticCost>();
  }

  static NeuralOtOptions options(const TraceCase& c, bool graph) {
    NeuralOtOptions o;
    o.inner_steps = 2;
    // UNet3D's deepest BatchNorm has one value for each sample: of two it would make ±1, whatever they are.
    o.batch_size = c.weak ? 2 : 4;
    o.noise_samples = c.weak ? 2 : 1;
    o.noise.deviation = 1;
    o.gamma = c.weak ? 0.6 : 0;
    o.gamma_steps = 7;  // rises inside the trace, then stays
    o.ema = 0.9;
    o.gradient_penalty = c.bounded ? 0.1 : 0;
    o.source_noise = c.bounded ? 0.05 : 0;
    o.drift_penalty = c.spectral ? 0.1 : 0;
    o.seed = 3;
    o.graph = graph;
    return o;
  }
  static OptimizerOptions adam(double rate = 1e-3) {
    OptimizerOptions o;
    o.params.beta1 = 0.5;
    // Adam makes full steps even of gradients that are zero but for rounding, such as a bias's before
    // BatchNorm; with a larger ε they stay small, and traces can be compared.
    o.params.epsilon = 1e-3;
    o.learning_rate = rate;
    o.clip_norm = 1;
    o.schedule.kind = ScheduleKind::cosine;
    o.schedule.total = 40;
    o.schedule.warmup = 3;
    return o;
  }
  std::map<std::string, HostArray> state() {
    std::map<std::string, HostArray> all = state_dict(*map);
    for (auto& [name, array] : state_dict(*f)) all["f." + name] = array;
    solver.save(all);
    return all;
  }

  Trainable<TransportMap> map;
  Trainable<Potential> f;
  NeuralOt solver;
};

std::vector<double> trace(Run& run, std::int64_t iterations = kIterations) {
  std::vector<double> losses;
  for (std::int64_t i = 0; i < iterations; ++i) {
    const NeuralOtLosses l = run.solver.step();
    losses.insert(losses.end(), {l.transport, l.cost, l.potential, l.slope});
  }
  return losses;
}

void check_same(const std::map<std::string, HostArray>& a, const std::map<std::string, HostArray>& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [name, array] : a) {
    INFO(name);
    CHECK(b.at(name).bytes == array.bytes);
  }
}

}  // namespace

namespace {

/// Eager iterations are compared with the graph's bit for bit.
void check_trace(const TraceCase& c, std::int64_t eager_iterations) {
  if (no_device()) return;
  CAPTURE(c.weak, c.voxels, c.bounded, c.spectral);
  Run cpu(c, Device::cpu, true);
  Run eager(c, Device::cuda, false);
  Run graph(c, Device::cuda, true);
  const std::vector<double> expected = trace(cpu);
  std::vector<double> losses = trace(graph, eager_iterations);
  CHECK(trace(eager, eager_iterations) == losses);
  check_same(graph.state(), eager.state());
  for (const double rest : trace(graph, kIterations - eager_iterations)) losses.push_back(rest);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    constexpr const char* kNames[] = {"transport", "cost", "potential", "slope"};
    INFO("iteration " << i / 4 << ", " << kNames[i % 4]);
    // Sums run in another order, which changes a loss by some units of 6e-8 for the first iterations; where a
    // maximum or a ReLU then falls on its other side, the saddle point amplifies that by two orders.
    CHECK(losses[i] == Approx(expected[i]).epsilon(1e-4).margin(1e-5));
  }
  // Files are the same in kind, whatever the device.
  const auto there = graph.state();
  int counters = 0;
  for (const auto& [name, array] : cpu.state()) {
    INFO(name);
    REQUIRE(there.contains(name));
    CHECK(there.at(name).describe() == array.describe());
    if (!name.ends_with("num_batches_tracked") && !name.ends_with("step")) continue;
    CHECK(there.at(name).bytes == array.bytes);
    ++counters;
  }
  CHECK(counters > 0);
}

}  // namespace

TEST_CASE("static step: ten iterations on a GPU as on the CPU, as a graph as eagerly",
          "[static_step][neural_ot][cuda]") {
  check_trace({GENERATE(false, true), false}, kIterations);
}

TEST_CASE("static step: a gradient penalty on a GPU as on the CPU", "[static_step][neural_ot][cuda]") {
  check_trace({false, false, true}, kIterations);
}

TEST_CASE("static step: spectral normalisation and a drift penalty on a GPU as on the CPU",
          "[static_step][neural_ot][cuda]") {
  check_trace({false, false, GENERATE(false, true), true}, kIterations);
}

TEST_CASE("static step: ten iterations of UNet3D and ResNet3D on a GPU as on the CPU",
          "[static_step][neural_ot][cuda][slow]") {
  check_trace({GENERATE(false, true), true}, 4);
}

TEST_CASE("static step: a run moves between devices, and goes on from a graph with the same bits",
          "[static_step][neural_ot][cuda]") {
  if (no_device()) return;
  const TraceCase c{true, false, false, true};
  Run straight(c, Device::cuda, true);
  trace(straight, 4);
  const auto saved = straight.state();
  std::map<std::string, HostArray> map_state, f_state;
  for (const auto& [name, array] : saved) {
    if (name.starts_with("solver.")) continue;
    (name.starts_with("f.") ? f_state[name.substr(2)] : map_state[name]) = array;
  }
  const auto resume = [&](Run& run) {
    load_state_dict(*run.map, map_state, "saved");
    load_state_dict(*run.f, f_state, "saved");
    run.solver.load(saved);
    CHECK(run.solver.steps() == 4);
  };
  Run again(c, Device::cuda, true, 77);
  resume(again);
  Run cpu(c, Device::cpu, true, 77);
  resume(cpu);
  const std::vector<double> losses = trace(straight, 4);
  CHECK(trace(again, 4) == losses);
  check_same(again.state(), straight.state());
  const std::vector<double> host = trace(cpu, 4);
  for (std::size_t i = 0; i < host.size(); ++i)
    CHECK(host[i] == Approx(losses[i]).epsilon(1e-4).margin(1e-5));
}

TEST_CASE("static step: data in the device's memory, recorded and eager, as drawn on the host",
          "[static_step][neural_ot][volumes][device]") {
  const TraceCase c{GENERATE(false, true), false};
  VolumeParams p;
  p.extent = {1, 2, 2};
  p.turn = Turn::in_plane;
  p.degrees = 30;
  p.hues = Hues::palette;
  p.palette_size = 4;
  p.palette = {0, 120, 240, 60};
  const Tensor images =
      Tensor::from({5, 2, 2}, std::vector<float>{0,    0.1F, 0.9F, 0.3F, 1, 0.2F, 0.5F, 0, 0.7F, 0.8F,
                                                 0.4F, 0.6F, 0,    1,    1, 0.5F, 0.2F, 0, 0.9F, 0.1F});
  const auto make = [&](Device device, bool graph, bool in_memory) {
    const DeviceSamples data(p, images.to(in_memory ? device : Device::cpu));
    const auto of = [&](Purpose purpose) -> Sampler {
      if (!in_memory) {
        return [=](std::uint64_t draw, std::int64_t n) { return data.draw({{3, purpose, draw}, n}); };
      }
      return [=](const std::uint64_t* draw, std::int64_t n) { return data.draw({{3, purpose, 0, draw}, n}); };
    };
    return std::make_unique<Run>(c, device, graph, 5, of(Purpose::source_samples),
                                 of(Purpose::target_samples));
  };
  for (const Device device : devices()) {
    CAPTURE(name_of(device), c.weak);
    const auto host = make(device, true, false);
    const auto eager = make(device, false, true);
    const auto graph = make(device, true, true);
    const std::vector<double> losses = trace(*graph, 6);
    CHECK(trace(*eager, 6) == losses);
    check_same(graph->state(), eager->state());
    const std::vector<double> expected = trace(*host, 6);
    for (std::size_t i = 0; i < losses.size(); ++i) {
      // Only a sine or cosine may differ, in its last bit.
      CHECK(losses[i] == Approx(expected[i]).epsilon(device == Device::cpu ? 0 : 1e-5).margin(1e-6));
    }
  }
}

TEST_CASE("static step: losses may wait, and one that is not finite is named when it is read",
          "[static_step][device]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    Run once(TraceCase{}, device, true);
    Run late(TraceCase{}, device, true);
    NeuralOtLosses last;
    // More than the ring holds, and no multiple of it.
    for (std::int64_t i = 0; i < StaticIterationBase::kLossRows + 5; ++i) {
      last = once.solver.step();
      late.solver.advance();
    }
    CHECK(late.solver.last_losses().transport == last.transport);
    CHECK(late.solver.last_losses().cost == last.cost);
    CHECK(late.solver.last_losses().potential == last.potential);
    late.f.parameters().values().fill(INFINITY);
    late.solver.advance();
    late.solver.advance();
    const std::string step = fmt::format("at step {}", StaticIterationBase::kLossRows + 6);
    for (int again = 0; again < 2; ++again) {
      CHECK_THAT(error_of([&] { (void)late.solver.losses(); }),
                 Catch::Contains("transport") && Catch::EndsWith(step));
    }
  }
}

TEST_CASE("static step: a loss that is not finite ends the run a ring's length later, and no state is saved",
          "[static_step][device]") {
  for (const Device device : devices()) {
    for (const std::int64_t sound : {0, 3, 8, 15}) {
      if (device != Device::cpu && sound % 8 != 0)
        continue;  // the host counts alike; emulated steps are slow
      CAPTURE(name_of(device), sound);
      Run run(TraceCase{}, device, true);
      for (std::int64_t i = 0; i < sound; ++i) run.solver.advance();
      run.f.parameters().values().fill(INFINITY);
      run.solver.advance();
      std::map<std::string, HostArray> state;
      CHECK_THAT(error_of([&] { run.solver.save(state); }),
                 Catch::EndsWith(fmt::format("at step {}", sound + 1)));
      CHECK(state.empty());

      Run blind(TraceCase{}, device, true);
      for (std::int64_t i = 0; i < sound; ++i) blind.solver.advance();
      blind.f.parameters().values().fill(INFINITY);
      const std::string error = error_of([&] {
        for (std::int64_t i = 0; i < StaticIterationBase::kLossRows; ++i) blind.solver.advance();
      });
      CHECK_THAT(error, Catch::EndsWith(fmt::format("at step {}", sound + 1)));
    }
  }
}

TEST_CASE("static step: a recorded iteration asks for no memory, and leaves the device's own alone",
          "[static_step][cuda]") {
  if (no_device()) return;
  Run run(TraceCase{}, Device::cuda, true);
  trace(run, 3);
  const AllocatorStatistics before = allocator_statistics(Device::cuda);
  for (int i = 0; i < 5; ++i) run.solver.advance();
  (void)run.solver.losses();
  const AllocatorStatistics after = allocator_statistics(Device::cuda);
  CHECK(after.system_allocations == before.system_allocations);
  CHECK(after.in_use == before.in_use);
}

TEST_CASE("graph: a replay reads what lies in memory now", "[static_step][cuda]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    const Tensor x = values_on(device, {1, 2, 3});
    const Tensor sum = Tensor::full({3}, 0, DType::f64, device);
    const Tensor draw = Tensor::full({1}, 0, DType::f64, device);  // eight bytes for the number
    const Tensor noise = Tensor::empty({5}, DType::f32, device);
    StepGraph graph(device, true);
    int calls = 0;
    for (std::uint64_t i = 1; i <= 5; ++i) {
      x.copy_from(values_on(device, {1.0 * static_cast<double>(i), 2, 3}));
      kernels::copy_bytes(draw.stream(), draw.data(), &i, sizeof i);
      const bool called = graph.run([&] {
        ++calls;
        const Tensor twice = Tensor::empty({3}, DType::f64, device);
        kernels::axpby(x.stream(), DType::f64,
                       {.count = 3, .a = 2, .x = x.data(), .b = 0, .y = twice.data()});
        kernels::axpby(x.stream(), DType::f64,
                       {.count = 3, .a = 1, .x = twice.data(), .b = 1, .y = sum.data()});
        const RandomState state{9, Purpose::test, 100, draw.as<std::uint64_t>()};
        kernels::fill_normal(noise.stream(), DType::f32,
                             {.count = 5, .state = state, .mean = 0, .deviation = 1, .y = noise.data()});
      });
      CHECK(called == (device == Device::cpu || i <= 2));
      const Tensor fresh = Tensor::normal({5}, {9, Purpose::test, 100 + i}, 0, 1, DType::f32, device);
      CHECK(noise.to_floats() == fresh.to_floats());
    }
    CHECK(calls == (device == Device::cpu ? 5 : 2));
    CHECK(sum.to_floats() == std::vector<float>{30, 20, 30});
  }
}

TEST_CASE("graph: what cannot be recorded is refused, and the stream works on", "[static_step][cuda]") {
  if (no_device()) return;
  const Tensor x = values_on(Device::cuda, {1, 2});
  StepGraph waits(Device::cuda, true);
  waits.run([&] { (void)x.to_floats(); });
  CHECK_THAT(error_of([&] { waits.run([&] { (void)x.to_floats(); }); }),
             Catch::StartsWith("cuda: a graph is being recorded"));
  StepGraph grows(Device::cuda, true);
  std::vector<Tensor> kept;
  const auto grow = [&] { kept.push_back(Tensor::empty({64}, DType::f32, Device::cuda)); };
  grows.run(grow);
  CHECK_THAT(error_of([&] { grows.run(grow); }),
             Catch::EndsWith("a graph is being recorded: no memory can be asked for"));
  CHECK(x.to_floats() == std::vector<float>{1, 2});
}

TEST_CASE("random: an offset in memory moves the draw", "[static_step][random][device]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{1} << 33}) {
      const Tensor place = Tensor::full({1}, 0, DType::f64, device);
      kernels::copy_bytes(place.stream(), place.data(), &offset, sizeof offset);
      const RandomState moved{4, Purpose::noise, 2, place.as<std::uint64_t>()};
      const RandomState plain{4, Purpose::noise, 2 + offset};
      CHECK(Tensor::normal({9}, moved, 0, 1, DType::f32, device).to_floats() ==
            Tensor::normal({9}, plain, 0, 1, DType::f32, device).to_floats());
      const Tensor a = Tensor::empty({9}, DType::f32, device);
      const Tensor b = Tensor::empty({9}, DType::f32, device);
      kernels::fill_uniform(a.stream(), DType::f32,
                            {.count = 9, .state = moved, .low = -1, .high = 1, .y = a.data()});
      kernels::fill_uniform(b.stream(), DType::f32,
                            {.count = 9, .state = plain, .low = -1, .high = 1, .y = b.data()});
      CHECK(a.to_floats() == b.to_floats());
    }
  }
}

TEST_CASE("elementwise: scale and add by a factor in memory", "[static_step][elementwise][device]") {
  for (const double factor : {0.75, 0.0}) {
    OpCase c;
    c.name = fmt::format("scale_add_at {}", factor);
    c.inputs = {{{3, 7}}, {{3, 7}}};
    c.op = [=](Tape& tape, const std::vector<Tensor>& in) {
      const auto factors = Buffer<double>::from(std::vector<double>{1, factor, 0}, in[0].device());
      // Squares, so that a factor of 0 leaves no gradient without a part.
      return ops::add(tape, ops::scale_add_at(tape, in[0], factors, in[1]), ops::mul(tape, in[1], in[1]));
    };
    check(c);
  }
  Tape tape;
  const Tensor x = values_on(Device::cpu, {1, 2});
  CHECK_THAT(error_of([&] {
               ops::scale_add_at(tape, x, Buffer<double>::from(std::vector<double>{1, 2}, Device::cpu), x);
             }),
             Catch::Contains("expected three"));
}

TEST_CASE("optimizer: an update in two halves is a step", "[static_step][optimizer][device]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    const TraceCase c;
    const auto one = networks(c, 1);
    const auto two = networks(c, 1);
    Parameters p(*one.second, DType::f32, device);
    Parameters q(*two.second, DType::f32, device);
    Optimizer whole(p, Run::adam());
    Optimizer halves(q, Run::adam());
    MovingAverage a(p, 0.9);
    MovingAverage b(q, 0.9);
    const Tensor place = Tensor::full({5}, 0, DType::f64, device);
    for (int i = 0; i < 4; ++i) {
      for (Parameters* each : {&p, &q}) {
        for (const NamedTensor& entry : each->named()) {
          entry.tensor->gradient()->value.fill(0.1 * (i + 1));
          entry.tensor->gradient()->ready = true;
        }
      }
      whole.step();
      a.update();
      const OptimizerScalars scalars = halves.next();
      const std::array<double, 2> factors = b.next();
      kernels::copy_bytes(place.stream(), place.data(), &scalars, sizeof scalars);
      kernels::copy_bytes(place.stream(), place.as<double>() + 3, factors.data(), sizeof factors);
      halves.update(place.as<OptimizerScalars>());
      b.update(place.as<double>() + 3);
    }
    CHECK(whole.steps() == halves.steps());
    CHECK(p.values().to_floats() == q.values().to_floats());
    const Averaged first(&a);
    const Averaged second(&b);
    CHECK(p.values().to_floats() == q.values().to_floats());
  }
}

TEST_CASE("allocator: a pool keeps its blocks to itself", "[static_step][allocator][device]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    const auto block = [device] { return Tensor::empty({1000}, DType::f32, device); };
    const void* inside = nullptr;
    Tensor survivor;
    {
      const MemoryPool pool(device);
      {
        const PoolScope scope(pool);
        inside = block().data();
        CHECK(block().data() == inside);  // handed out again, within
        survivor = block();
        survivor.fill(3);
        CHECK(pool.statistics().system_allocations == 1);
      }
      const std::uint64_t before = pool.statistics().in_use;
      const Tensor outside = block();
      CHECK(outside.data() != inside);
      CHECK(pool.statistics().in_use == before);
      const MemoryPool other(device);
      const PoolScope scope(other);
      CHECK(block().data() != inside);
      CHECK(other.statistics().system_allocations == 1);
    }
    CHECK(survivor.to_floats() == std::vector<float>(1000, 3));  // the pool is gone, its block is not
  }
}

TEST_CASE("staging: values go through the ring in order, into one place", "[static_step][staging][device]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    StaticInputs inputs(device, 2);
    const void* place = nullptr;
    for (int i = 0; i < 7; ++i) {
      inputs.set(0, values_on(Device::cpu, {1.0 * i, 2}, DType::f32));
      inputs.set(1, values_on(device, {3, 1.0 * i}, DType::f32));
      CHECK(inputs[0].device() == device);
      if (device == Device::cuda && i > 0) CHECK(inputs[0].data() == place);
      place = inputs[0].data();
      CHECK(inputs[0].to_floats() == std::vector<float>{static_cast<float>(i), 2});
      CHECK(inputs[1].to_floats() == std::vector<float>{3, static_cast<float>(i)});
    }
    PinnedRing ring(device, 16, 3);
    for (std::size_t i = 0; i < 7; ++i) {
      const std::size_t slot = ring.acquire();
      CHECK(slot == i % 3);
      ring.mark(slot);
    }
  }
  if (no_device()) return;
  StaticInputs inputs(Device::cuda, 1);
  inputs.set(0, values_on(Device::cpu, {1, 2}));
  CHECK_THAT(error_of([&] {
               inputs.set(0, values_on(Device::cpu, {1, 2, 3}));
             }),
             Catch::Contains("in the place of"));
}
