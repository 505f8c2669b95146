// Optimizers against PyTorch, clipping, schedules and the moving average.
#include "engine/optimizer.h"

#include <numbers>
#include <set>

#include "kernels/optimizer.h"
#include "kernels/sizes.h"
#include "tests/golden.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

const std::pair<const char*, OptimizerKind> kKinds[] = {{"sgd_momentum", OptimizerKind::sgd},
                                                        {"adam", OptimizerKind::adam},
                                                        {"adamw", OptimizerKind::adamw},
                                                        {"rmsprop", OptimizerKind::rmsprop},
                                                        {"rmsprop_momentum", OptimizerKind::rmsprop}};

/// A network that is one vector.
class Vector : public Module {
 public:
  explicit Vector(std::int64_t count) { add(values, "values", {count}); }
  Tensor values;
};

/// The vector with a normalisation's buffers beside it.
class Buffered : public Module {
 public:
  Buffered() : norm(NormKind::batch, 2) {
    add(values, "values", {3});
    add(norm, "norm");
  }
  Tensor values;
  Norm norm;
};

void set(const Tensor& t, const std::vector<double>& values) {
  t.copy_from(Tensor::from(t.shape(), std::span<const double>(values)));
}

/// As a backward pass would leave it.
void give_gradient(const Tensor& parameter, const std::vector<double>& values) {
  set(parameter.gradient()->value, values);
  parameter.gradient()->ready = true;
}

OptimizerParams read_params(const Golden& g, const std::string& name, OptimizerKind kind) {
  OptimizerParams p;
  p.kind = kind;
  const auto number = [&](const char* key, double& to) {
    // Stored in fp32: 0.9 and 0.01 come back as the doubles they were.
    const std::string full = name + "." + key;
    if (g.has(full)) to = std::round(g.number(full) * 1e12) / 1e12;
    if (g.has(full) && to > 1e-4) to = std::round(to * 1e5) / 1e5;
  };
  number("beta1", p.beta1);
  number("beta2", p.beta2);
  number("eps", p.epsilon);
  number("weight_decay", p.weight_decay);
  number("momentum", p.momentum);
  number("alpha", p.alpha);
  return p;
}

}  // namespace

TEST_CASE("optimizer: five steps of each against PyTorch", "[optimizer][goldens]") {
  const Golden g("ops");
  const DType dtype = GENERATE(DType::f64, DType::f32);
  for (const auto& [kind_name, kind] : kKinds) {
    const std::string name = std::string("optimizer.") + kind_name;
    INFO(name << " " << name_of(dtype));
    Vector network(20);
    Parameters parameters(network, dtype);
    set(network.values, g.values(name + ".parameter"));
    OptimizerOptions options;
    options.params = read_params(g, name, kind);
    options.learning_rate = std::round(g.number(name + ".lr") * 1e5) / 1e5;
    Optimizer optimizer(parameters, options);
    const std::vector<double> gradients = g.values(name + ".gradients");
    const std::vector<double> after = g.values(name + ".parameters_after");
    for (std::ptrdiff_t s = 0; s < 5; ++s) {
      give_gradient(network.values, {gradients.begin() + 20 * s, gradients.begin() + 20 * (s + 1)});
      optimizer.step();
      const std::vector<double> expected(after.begin() + 20 * s, after.begin() + 20 * (s + 1));
      const double error = distance(doubles(network.values), expected);
      // The golden's start and gradients are rounded to fp32 (6e-8) before, its answers after.
      CHECK(error < (dtype == DType::f64 ? 2e-7 : 1e-6));
    }
    CHECK(optimizer.steps() == 5);
  }
}

TEST_CASE("optimizer: the update on every device against PyTorch", "[optimizer][goldens][device]") {
  const Golden g("ops");
  const DType dtype = GENERATE(DType::f64, DType::f32);
  const Device device = GENERATE(from_range(devices()));
  const Stream stream = kernels::stream_of(device);
  for (const auto& [kind_name, kind] : kKinds) {
    const std::string name = std::string("optimizer.") + kind_name;
    const OptimizerParams params = read_params(g, name, kind);
    const std::vector<double> gradients = g.values(name + ".gradients");
    const std::vector<double> after = g.values(name + ".parameters_after");
    // The trace again and again, less its last number: off whole vectors, in one block and in several.
    for (const auto& [copies, offset] : {std::pair{1, 0}, {1, 1}, {101, 0}, {101, 3}}) {
      INFO(name << " " << name_of(dtype) << " on " << name_of(device) << ", " << copies << " times, "
                << offset << " off");
      const std::int64_t count = 20 * copies - 1;
      const auto repeated = [n = copies](const std::vector<double>& values, std::ptrdiff_t first) {
        std::vector<double> all;
        for (int c = 0; c < n; ++c)
          all.insert(all.end(), values.begin() + first, values.begin() + first + 20);
        all.pop_back();
        return all;
      };
      const auto place = [&, off = offset](const std::vector<double>& values) {
        const Tensor t = Tensor::full({count + off}, 0, dtype, device).window(off, {count});
        t.copy_from(Tensor::from({count}, std::span<const double>(values)).to(device));
        return t;
      };
      const Tensor parameter = place(repeated(g.values(name + ".parameter"), 0));
      // What a kind does not use is not touched, so it may be null.
      const bool adam = kind == OptimizerKind::adam || kind == OptimizerKind::adamw;
      const std::vector<double> zeros(to_size(count));
      // The first step of sgd sets the momentum, whatever was there.
      const Tensor first = place(kind == OptimizerKind::sgd ? std::vector<double>(zeros.size(), 5) : zeros);
      const Tensor second = place(zeros);
      void* const m = adam || params.momentum != 0 ? first.data() : nullptr;
      void* const v = adam || kind == OptimizerKind::rmsprop ? second.data() : nullptr;
      const Storage scalars(sizeof(OptimizerScalars), device);
      for (std::ptrdiff_t s = 0; s < 5; ++s) {
        const Tensor gradient = place(repeated(gradients, 20 * s));
        const OptimizerScalars now{std::round(g.number(name + ".lr") * 1e5) / 1e5, 1, s + 1};
        kernels::copy_bytes(stream, scalars.data(), &now, sizeof now);
        kernels::optimizer_step(stream, dtype, params,
                                {.scalars = static_cast<const OptimizerScalars*>(scalars.data()),
                                 .count = count,
                                 .gradient = gradient.data(),
                                 .parameter = parameter.data(),
                                 .first = m,
                                 .second = v});
        const double error = distance(doubles(parameter), repeated(after, 20 * s));
        CHECK(error < (dtype == DType::f64 ? 2e-7 : 1e-6));
      }
    }
  }
}

TEST_CASE("optimizer: the clip factor on every device", "[optimizer][device]") {
  const DType dtype = GENERATE(DType::f64, DType::f32, DType::bf16);
  const Device device = GENERATE(from_range(devices()));
  const Stream stream = kernels::stream_of(device);
  for (const std::int64_t count : {1, 37, 40001}) {
    const std::vector<double> values = test_values(count, Values::away, 5);
    const Guarded gradient({count}, values, dtype, NAN, device);
    const Storage memory(sizeof(OptimizerScalars), device);
    auto* const scalars = static_cast<OptimizerScalars*>(memory.data());
    for (const double limit : {0.5 * norm(values), 2 * norm(values)}) {
      INFO(name_of(dtype) << " on " << name_of(device) << ", " << count << " elements, limit " << limit);
      OptimizerScalars now{0.25, 1, 3};
      kernels::copy_bytes(stream, scalars, &now, sizeof now);
      kernels::clip_factor(stream, dtype, count, gradient.data(), limit, scalars);
      kernels::copy_bytes(stream, &now, scalars, sizeof now);
      kernels::synchronize(stream);
      // The epsilon in the divisor is seen where the norm is small.
      CHECK(now.clip == Approx(std::min(1.0, limit / (norm(values) + 1e-6))).epsilon(1e-12));
      CHECK(now.learning_rate == 0.25);
      CHECK(now.step == 3);
    }
    // As in PyTorch, a NaN anywhere makes all of the clipped gradient NaN; an infinite norm makes it 0.
    for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
      std::vector<double> damaged = values;
      damaged[damaged.size() / 2] = bad;
      const Guarded g({count}, damaged, dtype, 0, device);
      OptimizerScalars now;
      kernels::copy_bytes(stream, scalars, &now, sizeof now);
      kernels::clip_factor(stream, dtype, count, g.data(), 1, scalars);
      kernels::copy_bytes(stream, &now, scalars, sizeof now);
      kernels::synchronize(stream);
      CHECK((std::isnan(bad) ? std::isnan(now.clip) : now.clip == 0));
    }
  }
}

TEST_CASE("optimizer: a step clears the gradients, and without gradients Adam stands still", "[optimizer]") {
  Vector network(5);
  Parameters parameters(network);
  set(network.values, {1, 2, 3, 4, 5});
  Optimizer optimizer(parameters, {});
  give_gradient(network.values, {1, 1, 1, 1, 1});
  optimizer.step();
  const std::vector<double> after = doubles(network.values);
  CHECK(after[0] == Approx(1 - 1e-4));  // the first Adam step has the size of the learning rate
  CHECK_FALSE(network.values.gradient()->ready);
  CHECK(doubles(parameters.gradients()) == std::vector<double>(16, 0.0));
}

TEST_CASE("optimizer: clipping scales the whole gradient to the limit", "[optimizer]") {
  const DType dtype = GENERATE(DType::f64, DType::f32);
  const auto moved = [&](double limit, double size) {
    Vector network(4);
    Parameters parameters(network, dtype);
    OptimizerOptions options;
    options.params.kind = OptimizerKind::sgd;
    options.learning_rate = 1;
    options.clip_norm = limit;
    Optimizer optimizer(parameters, options);
    give_gradient(network.values, {3 * size, 0, -4 * size, 0});
    optimizer.step();
    return doubles(network.values);
  };
  CHECK(distance(moved(2, 1), std::vector<double>{-1.2, 0, 1.6, 0}) < 1e-6);  // norm 5 to 2
  CHECK(distance(moved(10, 1), std::vector<double>{-3, 0, 4, 0}) < 1e-12);    // below the limit: untouched
  CHECK(distance(moved(0, 1), std::vector<double>{-3, 0, 4, 0}) < 1e-12);     // no limit
  CHECK(distance(moved(2, 1e4), std::vector<double>{-1.2, 0, 1.6, 0}) < 1e-6);
}

TEST_CASE("optimizer: schedules", "[optimizer]") {
  Schedule s;
  CHECK(s.factor(0) == 1);
  CHECK(s.factor(1000000) == 1);
  s.warmup = 4;
  CHECK(s.factor(0) == 0.25);
  CHECK(s.factor(3) == 1);
  s = {};
  s.kind = ScheduleKind::linear;
  s.total = 10;
  s.final_scale = 0.2;
  CHECK(s.factor(0) == 1);
  CHECK(s.factor(5) == Approx(0.6));
  CHECK(s.factor(10) == Approx(0.2));
  CHECK(s.factor(50) == Approx(0.2));
  s.kind = ScheduleKind::cosine;
  CHECK(s.factor(0) == 1);
  CHECK(s.factor(5) == Approx(0.6));
  CHECK(s.factor(2) == Approx(0.2 + 0.8 * 0.5 * (1 + std::cos(std::numbers::pi / 5))));
  CHECK(s.factor(10) == Approx(0.2));
  s = {};
  s.kind = ScheduleKind::steps;
  s.milestones = {3, 6};
  s.decay = 0.5;
  CHECK(s.factor(2) == 1);
  CHECK(s.factor(3) == 0.5);
  CHECK(s.factor(6) == 0.25);
}

TEST_CASE("optimizer: the schedule scales the learning rate", "[optimizer]") {
  Vector network(1);
  Parameters parameters(network, DType::f64);
  OptimizerOptions options;
  options.params.kind = OptimizerKind::sgd;
  options.learning_rate = 1;
  options.schedule.kind = ScheduleKind::linear;
  options.schedule.total = 4;
  Optimizer optimizer(parameters, options);
  double expected = 0;
  for (const double factor : {1.0, 0.75, 0.5, 0.25, 0.0}) {
    give_gradient(network.values, {1});
    optimizer.step();
    expected -= factor;
    CHECK(network.values.item() == Approx(expected));
  }
}

TEST_CASE("optimizer: saved and loaded, it goes on with the same bits", "[optimizer]") {
  for (const OptimizerKind kind :
       {OptimizerKind::sgd, OptimizerKind::adam, OptimizerKind::adamw, OptimizerKind::rmsprop}) {
    OptimizerOptions options;
    options.params.kind = kind;
    options.params.momentum = 0.9;
    options.learning_rate = 0.01;
    const auto gradient = [](int step) {
      std::vector<double> v(6);
      for (std::size_t i = 0; i < v.size(); ++i) v[i] = std::sin(static_cast<double>(i) + step);
      return v;
    };
    Vector straight(6);
    Parameters p1(straight);
    Optimizer o1(p1, options);
    Vector resumed(6);
    Parameters p2(resumed);
    for (int s = 0; s < 3; ++s) {
      give_gradient(straight.values, gradient(s));
      o1.step();
    }
    std::map<std::string, HostArray> arrays;
    o1.save("o.", arrays);
    resumed.values.copy_from(straight.values);
    Optimizer o2(p2, options);
    o2.load("o.", arrays);
    CHECK(o2.steps() == 3);
    for (int s = 3; s < 6; ++s) {
      give_gradient(straight.values, gradient(s));
      o1.step();
      give_gradient(resumed.values, gradient(s));
      o2.step();
    }
    CHECK(straight.values.to_floats() == resumed.values.to_floats());
  }
}

TEST_CASE("optimizer: a state that does not fit is refused", "[optimizer]") {
  Vector small(3);
  Parameters p1(small);
  Vector large(40);
  Parameters p2(large);
  std::map<std::string, HostArray> arrays;
  Optimizer(p1, {}).save("o.", arrays);
  Optimizer other(p2, {});
  CHECK_THAT(error_of([&] { other.load("o.", arrays); }),
             Catch::Contains("o.exp_avg.values has shape [3], the network needs [40]"));
  arrays.erase("o.exp_avg_sq.values");
  Optimizer same(p1, {});
  CHECK_THAT(error_of([&] { same.load("o.", arrays); }),
             Catch::Contains("has no tensor o.exp_avg_sq.values"));
  OptimizerOptions momentum;
  momentum.params.kind = OptimizerKind::sgd;
  momentum.params.momentum = 0.9;
  Optimizer sgd(p1, momentum);
  CHECK_THAT(error_of([&] { sgd.load("o.", arrays); }), Catch::Contains("o.momentum_buffer.values"));
  std::map<std::string, HostArray> flat{{"o.step", HostArray::from_int64({1}, {1})},
                                        {"o.first", HostArray::from_floats({3}, {1, 2, 3})}};
  CHECK_THAT(error_of([&] { same.load("o.", flat); }),
             Catch::Contains("o.first has 3 elements, expected 16"));
  arrays["o.step"] = HostArray::from_floats({1}, {3});
  CHECK_THAT(error_of([&] { same.load("o.", arrays); }), Catch::Contains("o.step"));
}

TEST_CASE("optimizer and moving average: the flat form goes on with the same bits", "[optimizer]") {
  struct Layers : Module {
    Layers() {
      add(conv, "conv");
      add(norm, "norm");
      add(fc, "fc");
    }
    Conv3d conv{2, 3, {1, 2, 3}, {}};
    Norm norm{NormKind::batch, 3};
    Linear fc{{1, 2, 1, 3}, 2};
  };
  // As the file was: each parameter in the memory's order, from a multiple of 16 on, one behind the other.
  const auto flat = [](float scale) {
    std::vector<float> values;
    for (const int count : {36, 3, 3, 3, 12, 2}) {
      for (int i = 0; i < count; ++i) values.push_back(scale * static_cast<float>(values.size() + 1));
      values.resize((values.size() + 15) / 16 * 16);
    }
    return values;
  };
  const std::vector<float> first = flat(0.01F);
  const std::vector<float> second = flat(0.02F);
  const std::vector<float> weights = flat(0.03F);
  const auto size = std::ssize(first);
  const std::map<std::string, HostArray> file{{"o.step", HostArray::from_int64({1}, {7})},
                                              {"o.first", HostArray::from_floats({size}, first)},
                                              {"o.second", HostArray::from_floats({size}, second)},
                                              {"a.updates", HostArray::from_int64({1}, {5})},
                                              {"a.average", HostArray::from_floats({size}, weights)},
                                              {"a.buffer.0", HostArray::from_floats({3}, {4, 5, 6})},
                                              {"a.buffer.1", HostArray::from_floats({3}, {7, 8, 9})}};
  const auto begin = [](Optimizer& optimizer, MovingAverage& average, const auto& arrays) {
    optimizer.load("o.", arrays);
    average.load("a.", arrays);
  };
  Layers old_layers;
  Parameters old_parameters(old_layers);
  Optimizer old_optimizer(old_parameters, {});
  MovingAverage old_average(old_parameters, 0.9);
  begin(old_optimizer, old_average, file);
  std::map<std::string, HostArray> named;
  old_optimizer.save("o.", named);
  old_average.save("a.", named);

  std::set<std::string> names;
  for (const auto& [name, array] : named) names.insert(name);
  std::set<std::string> expected{"o.step", "a.n_averaged", "a.module.norm.running_mean",
                                 "a.module.norm.running_var"};
  for (const char* parameter :
       {"conv.weight", "conv.bias", "norm.weight", "norm.bias", "fc.weight", "fc.bias"}) {
    for (const char* place : {"o.exp_avg.", "o.exp_avg_sq.", "a.module."})
      expected.insert(place + std::string(parameter));
  }
  CHECK(names == expected);
  CHECK(named.at("o.exp_avg.conv.weight").shape == std::vector<std::int64_t>{3, 2, 1, 2, 3});
  const std::vector<float> conv = named.at("o.exp_avg.conv.weight").to_floats();
  const std::vector<float> fc = named.at("a.module.fc.weight").to_floats();
  for (std::size_t o = 0; o < 3; ++o) {
    for (std::size_t c = 0; c < 2; ++c) {
      for (std::size_t tap = 0; tap < 6; ++tap)
        CHECK(conv[(o * 2 + c) * 6 + tap] == first[(o * 6 + tap) * 2 + c]);
    }
  }
  for (std::size_t o = 0; o < 2; ++o) {
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t v = 0; v < 2; ++v) CHECK(fc[(o * 3 + c) * 2 + v] == weights[96 + (o * 2 + v) * 3 + c]);
    }
  }
  CHECK(named.at("a.module.norm.running_var").to_floats() == std::vector<float>{7, 8, 9});

  Layers new_layers;
  Parameters new_parameters(new_layers);
  Optimizer new_optimizer(new_parameters, {});
  MovingAverage new_average(new_parameters, 0.9);
  begin(new_optimizer, new_average, named);
  const auto go_on = [](Parameters& parameters, Optimizer& optimizer, MovingAverage& average) {
    for (const NamedTensor& entry : parameters.named()) {
      if (!entry.parameter) continue;
      entry.tensor->gradient()->value.fill(0.5);
      entry.tensor->gradient()->ready = true;
    }
    optimizer.step();
    average.update();
    average.swap();
    return state_dict(parameters.module());
  };
  const auto a = go_on(old_parameters, old_optimizer, old_average);
  const auto b = go_on(new_parameters, new_optimizer, new_average);
  for (const auto& [name, array] : a) CHECK(same(array, b.at(name)));
  CHECK(old_optimizer.steps() == 8);
  CHECK(new_optimizer.steps() == 8);
}

TEST_CASE("moving average: the first update copies, then the decay warms up", "[optimizer][moving_average]") {
  Buffered network;
  Parameters parameters(network, DType::f64);
  set(network.values, {100, 100, 100});  // the random start, which must leave no trace
  MovingAverage average(parameters, 0.9);
  CHECK_FALSE(average.ready());
  {
    const Averaged none(&average);
    CHECK(doubles(network.values) == std::vector<double>{100, 100, 100});
  }
  double expected = 0;
  for (int t = 0; t < 200; ++t) {
    const double value = std::cos(0.1 * t);
    set(network.values, {value, 2 * value, -value});
    average.update();
    const double keep = t == 0 ? 0 : std::min(0.9, (1.0 + t) / (10.0 + t));
    expected = keep * expected + (1 - keep) * value;
    const double now = value;
    {
      const Averaged shown(&average);
      CHECK(distance(doubles(network.values), std::vector<double>{expected, 2 * expected, -expected}) <
            1e-12);
    }
    CHECK(doubles(network.values)[0] == now);  // and the network is itself again
  }
}

TEST_CASE("moving average: shown twice, it is shown until the first goes", "[optimizer][moving_average]") {
  Vector network(2);
  Parameters parameters(network);
  MovingAverage average(parameters, 0.99);
  set(network.values, {1, 2});
  average.update();
  set(network.values, {3, 4});
  {
    const Averaged outer(&average);
    { const Averaged inner(&average); }
    CHECK(doubles(network.values) == std::vector<double>{1, 2});
    std::map<std::string, HostArray> arrays;
    CHECK_THAT(error_of([&] { average.update(); }), Catch::Contains("shows the average"));
    CHECK_THAT(error_of([&] { average.save("a.", arrays); }), Catch::Contains("shows the average"));
  }
  CHECK(doubles(network.values) == std::vector<double>{3, 4});
}

TEST_CASE("moving average: a constant is its own average, buffers too", "[optimizer][moving_average]") {
  Buffered network;
  Parameters parameters(network);
  MovingAverage average(parameters, 0.99);
  Tensor* running = nullptr;
  for (const NamedTensor& entry : parameters.named()) {
    if (entry.name == "norm.running_mean") running = entry.tensor;
  }
  REQUIRE(running != nullptr);
  set(network.values, {1, 2, 3});
  set(*running, {4, 5});
  for (int t = 0; t < 5; ++t) average.update();
  set(network.values, {0, 0, 0});
  set(*running, {0, 0});
  {
    const Averaged shown(&average);
    CHECK(distance(doubles(network.values), std::vector<double>{1, 2, 3}) < 1e-6);
    CHECK(distance(doubles(*running), std::vector<double>{4, 5}) < 1e-6);
  }
  CHECK(doubles(*running) == std::vector<double>{0, 0});
  std::map<std::string, HostArray> arrays;
  average.save("a.", arrays);
  MovingAverage other(parameters, 0.99);
  other.load("a.", arrays);
  CHECK(other.ready());
  const Averaged shown(&other);
  CHECK(distance(doubles(network.values), std::vector<double>{1, 2, 3}) < 1e-6);
}
