// One more solver, of the tests' own (tests/toy): what the rest of the program must do for any.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "engine/npy.h"
#include "tests/command.h"
#include "tests/op_case.h"
#include "tests/toy/toy_kind.h"
#include "tests/toy/toy_solver.h"

using namespace voxot;
using namespace voxot::test;

namespace {

constexpr std::array<std::int64_t, 4> kVolume{1, 1, 2, 2};
constexpr std::int64_t kLatent = 3;

Sampler normals(Purpose purpose, double mean) {
  return [=](std::uint64_t draw, std::int64_t n) {
    return Tensor::normal({n, 1, 1, 2, 2}, {3, purpose, draw}, mean, 0.5);
  };
}

template <class Network>
Trainable<Network> initialised(std::shared_ptr<Network> network, std::uint32_t number, Device device) {
  Initialiser initialiser(Initialisation::pytorch_default, 5, number);
  network->initialise(initialiser);
  return Trainable<Network>(std::move(network), device);
}

struct Toy {
  Toy(Device device, bool graph)
      : generator(initialised(std::make_shared<toy::Generator>(kLatent, 8, kVolume), 0, device)),
        critic_x(initialised(std::make_shared<toy::Critic>(4, 8), 1, device)),
        critic_y(initialised(std::make_shared<toy::Critic>(4, 8), 2, device)),
        solver(options(graph), {generator, critic_x, critic_y, adam(), adam(), adam(),
                                normals(Purpose::source_samples, 0), normals(Purpose::target_samples, 1)}) {}
  static toy::Options options(bool graph) {
    toy::Options o;
    o.batch_size = 6;
    o.seed = 3;
    o.graph = graph;
    return o;
  }
  static OptimizerOptions adam() {
    OptimizerOptions o;
    o.params.beta1 = 0.5;
    o.params.epsilon = 1e-3;  // as in static_step_test: rounding makes no full steps
    o.learning_rate = 1e-3;
    return o;
  }
  std::vector<double> step() {
    solver.advance();
    std::vector<double> values;
    for (const Metric& m : solver.losses()) values.push_back(m.value);
    return values;
  }
  std::map<std::string, HostArray> state() {
    std::map<std::string, HostArray> all;
    for (const NetworkRole& role : solver.networks())
      all.merge(state_dict(role.parameters->module(), role.name + "."));
    solver.save(all);
    return all;
  }
  void load(const std::map<std::string, HostArray>& all) {
    for (const NetworkRole& role : solver.networks()) {
      std::map<std::string, HostArray> own;
      for (const auto& [name, array] : all) {
        if (name.starts_with(role.name + ".")) own[name.substr(role.name.size() + 1)] = array;
      }
      load_state_dict(role.parameters->module(), own, role.name);
    }
    solver.load(all, "saved");
  }

  Trainable<toy::Generator> generator;
  Trainable<toy::Critic> critic_x, critic_y;
  toy::ToySolver solver;
};

void check_same(const std::map<std::string, HostArray>& a, const std::map<std::string, HostArray>& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [name, array] : a) {
    INFO(name);
    CHECK(b.at(name).bytes == array.bytes);
  }
}

}  // namespace

TEST_CASE("toy: two kinds of iterations, each a graph of its own, on a schedule of the solver's",
          "[toy][static_step][device]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    Toy graph(device, true);
    Toy eager(device, false);
    Toy cpu(Device::cpu, true);
    for (int s = 0; s < 5; ++s) {
      const std::vector<double> losses = graph.step();
      CHECK(eager.step() == losses);
      const std::vector<double> expected = cpu.step();
      REQUIRE(expected.size() == 5);
      for (std::size_t i = 0; i < losses.size(); ++i) {
        INFO("step " << s << ", loss " << i);
        CHECK(losses[i] == Approx(expected[i]).epsilon(1e-4).margin(1e-5));  // sums in another order
      }
      CHECK(graph.solver.steps() == s + 1);
      CHECK(graph.solver.critic_runs() == 2 * (s + 1) + 2 * std::min(s + 1, 2));
    }
    check_same(graph.state(), eager.state());
  }
}

TEST_CASE("toy: saved amid its schedule and loaded, it goes on with the same bits", "[toy][device]") {
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    Toy straight(device, true);
    straight.step();
    const auto saved = straight.state();
    Toy resumed(device, true);
    resumed.load(saved);
    for (int s = 0; s < 4; ++s) CHECK(straight.step() == resumed.step());
    check_same(straight.state(), resumed.state());
  }
}

TEST_CASE("toy: a loss that is not finite is named, and no state is saved", "[toy]") {
  Toy toy(Device::cpu, true);
  toy.step();
  toy.critic_y.parameters().values().fill(NAN);
  toy.solver.advance();
  std::map<std::string, HostArray> state;
  for (int again = 0; again < 2; ++again)
    CHECK_THAT(error_of([&] { toy.solver.save(state); }), Catch::Contains("critic_y_loss is nan"));
  CHECK(state.empty());
}

TEST_CASE("toy: it learns to sample and to label", "[toy]") {
  Toy toy(Device::cpu, true);
  for (int s = 0; s < 600; ++s) toy.solver.advance();
  const Capabilities can = toy.solver.capabilities();
  REQUIRE(can.transport == nullptr);
  const TensorPair pairs = can.pairs->sample(512, {1, Purpose::evaluation, 0});
  const auto mean = [](const Tensor& t) {
    double sum = 0;
    for (const float v : t.to_floats()) sum += v;
    return sum / static_cast<double>(t.count());
  };
  // Means of the marginals are 0 and 1.
  CHECK(mean(pairs.x) == Approx(0).margin(0.3));
  CHECK(mean(pairs.y) == Approx(1).margin(0.3));
  // The classes of sampled pairs alternate.
  const std::vector<int> labels = can.labels->label(pairs.y);
  int right = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) right += labels[i] == static_cast<int>(i % 2) ? 1 : 0;
  CHECK(right > 400);
}

namespace {

constexpr const char* kConfig = R"(
[solver]
kind = "toy"
steps = 1200
batch_size = 8
critic_steps = 3
precision = "fp32"
[generator]
hidden = 8
[optimizer.critic_x]
schedule = "constant"
learning_rate = 1e-3
[source]
dataset = "npy"
path = "a.npz"
[target]
dataset = "npy"
path = "b.npz"
[log]
every = 50
samples_every = 600
validate_every = 600
checkpoint_every = 100
)";

fs::path toy_folder(const TempDirectory& directory, const std::string& name) {
  fs::path folder = directory / name;
  fs::create_directories(folder);
  std::ofstream(folder / "toy.toml") << kConfig;
  std::vector<std::int64_t> labels(60);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int64_t>(i % 2);
  for (const auto& [file, mean] : {std::pair("a.npz", 0.0), std::pair("b.npz", 0.3)}) {
    const std::vector<float> values =
        Tensor::normal({60, 1, 1, 1, 2}, {7, Purpose::test, 0}, mean, 0.2).to_floats();
    write_npz(folder / file, {{"data", HostArray::from_floats({60, 2}, values)},
                              {"labels", HostArray::from_int64({60}, labels)}});
  }
  return folder;
}

int run_toy(const fs::path& folder, const std::vector<std::string>& arguments, std::string* err = nullptr) {
  const Command command(folder, arguments, VOXOT_TOY_COMMAND);
  const int status = command.wait();
  if (err != nullptr) *err = command.err();
  return status;
}

std::string bytes_of_events(const fs::path& run) {
  std::string all;
  for (const auto& entry : fs::directory_iterator(run)) {
    if (entry.path().filename().string().starts_with("events.")) all += text_of(entry.path());
  }
  return all;
}

}  // namespace

TEST_CASE("toy: a run of it is trained, killed, resumed to the same bits, scored and reported",
          "[toy][command]") {
  const TempDirectory directory;
  const fs::path whole = toy_folder(directory, "whole");
  REQUIRE(run_toy(whole, {"train", "toy.toml", "--out", "run"}) == 0);

  const fs::path killed = toy_folder(directory, "killed");
  {
    const Command command(killed, {"train", "toy.toml", "--out", "run"}, VOXOT_TOY_COMMAND);
    // Its first record, at step 50, says that it trains; a thousand steps are left then.
    for (int i = 0; i < 5000 && text_of(killed / "run/metrics.jsonl").empty(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    command.send(SIGKILL);
    CHECK(command.wait() == 128 + SIGKILL);
  }
  CHECK_FALSE(fs::exists(killed / "run/checkpoints/step-0001200.safetensors"));
  REQUIRE(run_toy(killed, {"train", "toy.toml", "--out", "run", "--resume"}) == 0);
  for (const char* file : {"run/metrics.jsonl", "run/generator.safetensors", "run/samples/last.npz",
                           "run/checkpoints/step-0001200.safetensors"}) {
    INFO(file);
    CHECK(text_of(whole / file) == text_of(killed / file));
  }

  const std::string metrics = text_of(whole / "run/metrics.jsonl");
  const auto first = nlohmann::json::parse(metrics.substr(0, metrics.find('\n')));
  for (const char* name : {"critic_x_loss", "critic_y_loss", "label_loss", "generator_loss", "pair_cost"}) {
    INFO(name);
    CHECK(first.at(name).is_number());
    CHECK_THAT(bytes_of_events(whole / "run"), Catch::Contains(std::string("train/") + name));
  }
  CHECK_THAT(metrics, Catch::Contains(R"("kind":"validate","pair_cost":)"));

  REQUIRE(run_toy(whole, {"evaluate", "run", "--samples", "32"}) == 0);
  const auto scores = nlohmann::json::parse(text_of(whole / "run/evaluation.json"));
  CHECK(scores.at("pair_cost").get<double>() > 0);
  CHECK(scores.at("label_accuracy").is_number());
  CHECK(scores.at("transport_cost").is_null());
  CHECK(scores.at("step") == 1200);
  REQUIRE(run_toy(whole, {"report", "run", "--json", "--output", "page"}) == 0);

  std::string err;
  CHECK(run_toy(whole, {"map", "run", "--input", "a.npz", "--output", "y.npy"}, &err) == 1);
  CHECK_THAT(err, Catch::Contains("a run of toy has no map to apply"));
  CHECK(run_toy(whole, {"train", "toy.toml", "--set", "solver.gamma=1"}, &err) == 2);
  CHECK_THAT(err, Catch::Contains("solver.gamma: has no effect here"));
  CHECK(run_toy(whole, {"train", "toy.toml", "--set", "generator.hiden=1"}, &err) == 2);
  CHECK_THAT(err, Catch::Contains("did you mean \"generator.hidden\"?"));
  CHECK(run_toy(whole, {"train", "toy.toml", "--init-from", "run", "--out", "second", "--set",
                        "solver.steps=2"}) == 0);
  CHECK(run_toy(whole,
                {"train", "toy.toml", "--init-from", "run", "--out", "third", "--set", "generator.hidden=9"},
                &err) == 1);
  CHECK_THAT(err, Catch::Contains("generator: "));
  // voxot itself has no such kind.
  const Command plain(whole, {"train", "toy.toml", "--out", "fourth"});
  CHECK(plain.wait() == 2);
}
