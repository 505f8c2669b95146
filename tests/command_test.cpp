// The command as its user meets it: exit statuses, messages, interruption and resumption, files for Python.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#include "engine/npy.h"
#include "engine/safetensors.h"
#include "kernels/features.h"
#include "kernels/philox.h"
#include "kernels/sizes.h"
#include "tests/command.h"
#include "tests/cuda_device.h"

namespace {

using namespace voxot;
using namespace voxot::test;
namespace fs = std::filesystem;

/// A run that a small judge validates, so that there is a best checkpoint.
std::vector<std::string> judged(const std::string& more = "") {
  std::vector<std::string> all = train(more);
  for (const char* setting : {"log.validate_every=6", "log.validate_samples=16", "judge.steps=20",
                              "judge.width=4", "judge.required=0", "judge.file=../judge.safetensors"})
    all.insert(all.end(), {"--set", setting});
  return all;
}

void check_same_run(const fs::path& a, const fs::path& b) {
  CHECK(text_of(a / "run/metrics.jsonl") == text_of(b / "run/metrics.jsonl"));
  CHECK(text_of(a / "run/checkpoints/step-0000024.safetensors") ==
        text_of(b / "run/checkpoints/step-0000024.safetensors"));
  CHECK(text_of(a / "run/checkpoints/best.safetensors") == text_of(b / "run/checkpoints/best.safetensors"));
  CHECK(text_of(a / "run/transport.safetensors") == text_of(b / "run/transport.safetensors"));
  CHECK(text_of(a / "run/samples/last.npz") == text_of(b / "run/samples/last.npz"));
}

/// Waits until the run has a checkpoint later than the first, so that an interruption meets a training run.
bool wait_for_training(const fs::path& folder) {
  for (int i = 0; i < 2000; ++i) {
    if (fs::exists(folder / "run/checkpoints/step-0000003.safetensors")) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace

TEST_CASE("command: a killed, an interrupted and an untouched run leave the same bits", "[command]") {
  const test::TempDirectory directory;
  const fs::path whole = tiny_folder(directory, "whole");
  REQUIRE(Command(whole, judged()).wait() == 0);
  REQUIRE(fs::exists(whole / "run/checkpoints/best.safetensors"));
  const fs::path again = tiny_folder(directory, "again");
  REQUIRE(Command(again, judged()).wait() == 0);
  check_same_run(whole, again);

  const fs::path interrupted = tiny_folder(directory, "interrupted");
  {
    const Command command(interrupted, judged());
    REQUIRE(wait_for_training(interrupted));
    command.send(SIGINT);
    const int status = command.wait();
    CHECK((status == 130 || status == 0));  // 0: the run ended before the signal came
  }
  REQUIRE(Command(interrupted, judged("--resume")).wait() == 0);
  check_same_run(whole, interrupted);
  CHECK(text_of(whole / "run/sessions.jsonl").starts_with("{\"first_step\":0,\"last_step\":24,\"seconds\":"));
  const std::string sessions = text_of(interrupted / "run/sessions.jsonl");
  CHECK(sessions.starts_with("{\"first_step\":0,"));
  CHECK(sessions.find("\"last_step\":24,") != std::string::npos);

  const fs::path killed = tiny_folder(directory, "killed");
  Random random(5, Purpose::test);
  for (int round = 0; round < 4; ++round) {
    const Command command(killed, judged("--resume=auto"));
    if (round == 0) REQUIRE(wait_for_training(killed));
    if (round > 0) std::this_thread::sleep_for(std::chrono::milliseconds(random.below(250)));
    command.send(SIGKILL);
    command.wait();
    if (round == 0) CHECK_FALSE(fs::exists(killed / "run/checkpoints/step-0000024.safetensors"));
  }
  const fs::path half = killed / "run/checkpoints/.voxot-1-1.tmp";
  std::ofstream(half) << "what a kill amid a write leaves";
  REQUIRE(Command(killed, judged("--resume")).wait() == 0);
  check_same_run(whole, killed);
  CHECK_FALSE(fs::exists(half));
}

TEST_CASE("command: SIGTERM ends a run with 143 and a checkpoint", "[command]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "run");
  std::vector<std::string> arguments = train();
  arguments.insert(arguments.end(), {"--set", "solver.steps=100000"});
  const Command command(folder, arguments);
  REQUIRE(wait_for_training(folder));
  command.send(SIGTERM);
  CHECK(command.wait() == 143);
  // The checkpoint is that of the step it stopped after, whole, and the run goes on from there.
  const std::string said = command.err();
  const std::string stopped = "stopped after step ";
  const std::size_t at = said.find(stopped);
  INFO(said);
  REQUIRE(at != std::string::npos);
  const int step = std::stoi(said.substr(at + stopped.size()));
  CHECK(step >= 3);
  const auto checkpoint = [&](int of) {
    return folder / fmt::format("run/checkpoints/step-{:07}.safetensors", of);
  };
  REQUIRE(fs::exists(checkpoint(step)));
  CHECK_NOTHROW(read_safetensors(checkpoint(step)));
  arguments = train("--resume");
  arguments.insert(arguments.end(), {"--set", fmt::format("solver.steps={}", step + 2)});
  REQUIRE(Command(folder, arguments).wait() == 0);
  CHECK(text_of(folder / "run/sessions.jsonl").find(fmt::format("{{\"first_step\":{},", step)) !=
        std::string::npos);
  CHECK(fs::exists(checkpoint(step + 2)));
}

TEST_CASE("command: wrong use is refused in one line", "[command]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  check_fails(folder, {"train", "missing.toml"}, 2, "missing.toml");
  check_fails(folder, {"train", "tiny.toml", "--set", "solver.step=3"}, 2, "steps");
  check_fails(folder, {"train", "tiny.toml", "--set", "solver.steps=-3"}, 2, "steps");
  check_fails(folder, {"train", "tiny.toml", "--set", "source.dataset=nothing"}, 2, "nothing");
  check_fails(folder, {"train", "tiny.toml", "--device", "cpu", "--precision", "tf32"}, 2, "--device cuda");
  if (kernels::cuda_devices() == 0)
    check_fails(folder, {"train", "tiny.toml", "--device", "cuda"}, 2, "device cuda");
  check_fails(folder, {"trian", "tiny.toml"}, 2, "trian");
  check_fails(folder, {"evaluate", "nowhere"}, 1, "config.toml");
  check_fails(folder, {"map", "nowhere.safetensors", "--input", "x.npy", "--output", "y.npy"}, 1, "x.npy");
  check_fails(folder, {"render", "nowhere.npy", "--output", "y.png"}, 1, "nowhere.npy");
  CHECK_FALSE(fs::exists(folder / "y.npy"));
  CHECK_FALSE(fs::exists(folder / "y.png"));
  CHECK_FALSE(fs::exists(folder / "runs"));
}

TEST_CASE("command: a run in the way, another config, a damaged checkpoint", "[command]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  std::vector<std::string> arguments = train();
  arguments.insert(arguments.end(), {"--set", "solver.steps=3"});
  REQUIRE(Command(folder, arguments).wait() == 0);
  check_fails(folder, arguments, 2, "--resume");
  std::vector<std::string> other = arguments;
  other.insert(other.end(), {"--set", "transport.base=4", "--resume"});
  check_fails(folder, other, 2, "base = 2");
  const fs::path checkpoint = folder / "run/checkpoints/step-0000003.safetensors";
  fs::resize_file(checkpoint, fs::file_size(checkpoint) / 2);
  std::vector<std::string> resumed = train("--resume");
  check_fails(folder, resumed, 1, "step-0000003.safetensors");
}

TEST_CASE("command: a run begins with the weights of another, or says what does not fit", "[command]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "chain");
  REQUIRE(Command(folder, train()).wait() == 0);
  // At a rate of next to nothing the weights stay what they were taken over as.
  std::vector<std::string> next{"train", "tiny.toml", "--out", "next", "--init-from", "run", "--seed", "5"};
  for (const char* more : {"solver.steps=1", "optimizer.transport.learning_rate=1e-30",
                           "optimizer.potential.learning_rate=1e-30", "solver.ema=0"})
    next.insert(next.end(), {"--set", more});
  REQUIRE(Command(folder, next).wait() == 0);
  const auto before = read_safetensors(folder / "run/checkpoints/step-0000024.safetensors").tensors;
  const auto after = read_safetensors(folder / "next/checkpoints/step-0000001.safetensors").tensors;
  std::map<std::string, int> taken;  // tensors of each network
  for (const auto& [name, array] : before) {
    const bool weights = name.starts_with("transport.") || name.starts_with("potential.");
    if (!weights || name.find("running") != std::string::npos || name.ends_with("num_batches_tracked"))
      continue;
    INFO(name);
    CHECK(after.at(name).bytes == array.bytes);
    ++taken[name.substr(0, name.find('.'))];
  }
  CHECK(taken["transport"] > 10);
  CHECK(taken["potential"] > 10);
  CHECK(text_of(folder / "next/config.toml").find("init_from = \"run\"") != std::string::npos);
  const auto refused = [&](const std::vector<std::string>& more, const std::string& said) {
    std::vector<std::string> arguments{"train", "tiny.toml", "--out", "other"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Command command(folder, arguments);
    CHECK(command.wait() == 1);
    CHECK_THAT(command.err(), Catch::Contains(said));
  };
  refused({"--init-from", "run", "--set", "transport.base=3"}, "inc.double_conv.0.weight has shape");
  refused({"--init-from", "run", "--set", "potential.nf=3"}, "conv_img.weight has shape");
  refused({"--init-from", "nowhere"}, "nowhere holds no checkpoint");
  // What no shape shows.
  check_fails(
      folder,
      {"train", "tiny.toml", "--out", "other", "--init-from", "run", "--set", "transport.residual=false"}, 2,
      "residual = true");
  check_fails(
      folder,
      {"train", "tiny.toml", "--out", "other", "--init-from", "run", "--set", "potential.res_ratio=0.5"}, 2,
      "res_ratio = 0.1");
  CHECK_FALSE(fs::exists(folder / "other"));
}

TEST_CASE("command: report makes one page, or nothing", "[command][report]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  std::vector<std::string> arguments = train();
  arguments.insert(arguments.end(), {"--set", "solver.steps=3"});
  REQUIRE(Command(folder, arguments).wait() == 0);
  check_fails(folder, {"report"}, 2, "runs");
  check_fails(folder, {"report", "run"}, 2, "--output");
  check_fails(folder, {"report", "run", "nowhere", "--output", "page"}, 1,
              "nowhere: expected the folder of a run");
  check_fails(folder, {"report", "run", ".", "--output", "page"}, 1, "config.toml");
  CHECK_FALSE(fs::exists(folder / "page"));
  check_fails(folder, {"report", "run", "--output", "tiny.toml"}, 1, "tiny.toml");
  const Command page(folder, {"report", "run", "--output", "page"});
  CHECK(page.wait() == 0);
  CHECK(page.out() == "page/index.html\n");
  CHECK(text_of(folder / "page/index.html").starts_with("<!doctype html>"));
  const Command rows(folder, {"report", "run", "--json"});
  CHECK(rows.wait() == 0);
  CHECK(rows.out().starts_with("[\n  {\n    \"name\": \"run\","));
}

TEST_CASE("command: pair writes partners and its certificate, converged or not", "[command][pairing]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  for (const char* name : {"a", "b"}) {
    REQUIRE(
        Command(folder, {"data", "make", "digits", "--resolution", "4", "--extrude", "1", "3", "--count",
                         "22", "--seed", name[0] == 'a' ? "1" : "2", "--output", std::string(name) + ".npz"})
            .wait() == 0);
  }
  const auto pair = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"pair", "--source", "a.npz", "--target", "b.npz", "--output", "plan.npz"});
    return more;
  };
  const Command exact(folder,
                      pair({"--method", "exact", "--batch", "8", "--picture", "pairs.png", "--json"}));
  CHECK(exact.wait() == 0);
  for (const char* line : {"\"problems\": 3,", "\"converged\": 3,", "\"iterations\": 0,", "\"epsilon\": 0.0,",
                           "\"most_reused\": 1,"})
    CHECK(exact.out().find(line) != std::string::npos);
  CHECK(text_of(folder / "pairs.png").starts_with("\x89PNG"));
  auto plan = read_npz(folder / "plan.npz");
  CHECK(plan.at("plan").shape == std::vector<std::int64_t>{3, 8, 8});
  std::vector<float> partners = plan.at("partner").to_floats();
  std::sort(partners.begin(), partners.end());  // exact plans of batches of 8, 8 and 6: every target once
  for (std::size_t i = 0; i < partners.size(); ++i) CHECK(partners[i] == static_cast<float>(i));
  // Duals meet the cost of every pair of an exact plan; Sinkhorn's potentials make its plan.
  const auto doubles_of = [&](const char* name) {
    const HostArray& array = plan.at(name);
    REQUIRE(array.type == FileType::f64);
    return array.to_doubles();
  };
  CHECK(doubles_of("epsilon") == std::vector<double>(3, 0));
  for (const std::string method : {"exact", "sinkhorn"}) {
    REQUIRE(Command(folder, pair({"--method", method, "--epsilon", "0.02", "--seed", "4"})).wait() == 0);
    plan = read_npz(folder / "plan.npz");
    const std::vector<double> f = doubles_of("f");
    const std::vector<double> g = doubles_of("g");
    // Of each problem ε as it was used, and values that bracket the best.
    CHECK(doubles_of("epsilon") == std::vector<double>{method == "exact" ? 0 : 0.02});
    REQUIRE(doubles_of("primal").size() == 1);
    REQUIRE(doubles_of("dual").size() == 1);
    CHECK(doubles_of("dual")[0] == Approx(doubles_of("primal")[0]).epsilon(1e-3));
    CHECK(doubles_of("duality_gap")[0] < 1e-3);
    REQUIRE(f.size() == 22);
    REQUIRE(g.size() == 22);
    const std::vector<float> chosen = plan.at("partner").to_floats();
    const std::vector<float> cost = plan.at("cost").to_floats();
    const std::vector<float> mass = plan.at("plan").to_floats();
    for (std::size_t i = 0; i < 22; ++i) {
      const auto j = static_cast<std::size_t>(chosen[i]);
      const double slack = f[i] + g[j] - static_cast<double>(cost[i]);
      // Costs are fp32, up to 0.5: 6e-8 of them, over ε in the exponent.
      if (method == "exact") {
        CHECK(std::abs(slack) < 1e-6);
      } else {
        CHECK(static_cast<double>(mass[i * 22 + j]) == Approx(std::exp(slack / 0.02) / 484).epsilon(1e-5));
      }
    }
  }
  // The same seed, the same partners.
  REQUIRE(Command(folder, pair({"--relative", "--epsilon", "0.5", "--seed", "3"})).wait() == 0);
  const auto once = read_npz(folder / "plan.npz").at("partner").bytes;
  REQUIRE(Command(folder, pair({"--relative", "--epsilon", "0.5", "--seed", "3"})).wait() == 0);
  CHECK(read_npz(folder / "plan.npz").at("partner").bytes == once);
  if (kernels::cuda_devices() > 0) {
    // Plans differ in rounding alone, which moves a draw only where it falls on an element's border.
    const std::vector<std::string> drawn =
        pair({"--relative", "--epsilon", "0.5", "--seed", "3", "--within", "colours", "--device"});
    std::array<std::vector<std::byte>, 2> found;
    for (const std::size_t k : {0U, 1U}) {
      std::vector<std::string> arguments = drawn;
      arguments.emplace_back(k == 0 ? "cpu" : "cuda");
      REQUIRE(Command(folder, arguments).wait() == 0);
      found[k] = read_npz(folder / "plan.npz").at("partner").bytes;
    }
    CHECK(found[1] == found[0]);
  }
  // Not converged: the plan is there, marked, and the status says so.
  check_fails(folder, pair({"--epsilon", "1e-6", "--max-iterations", "2"}), 1,
              "1 of 1 batches did not reach");
  CHECK(read_npz(folder / "plan.npz").at("converged").to_floats() == std::vector<float>{0});
  check_fails(folder, pair({"--epsilon", "0"}), 2, "greater than 0");
  check_fails(folder, pair({"--within", "nothing"}), 1, "no array nothing");
  check_fails(folder, {"pair", "--source", "a.txt", "--target", "b.npz", "--output", "new.npz"}, 2, "a.txt");
  CHECK_FALSE(fs::exists(folder / "new.npz"));
}

namespace {

/// n×3 numbers, the same for the same seed.
std::vector<double> numbers(std::int64_t n, std::uint64_t seed) {
  Random random(seed, Purpose::test);
  std::vector<double> values(to_size(3 * n));
  for (double& v : values) v = static_cast<double>(random.normal());
  return values;
}

HostArray scaled(std::vector<double> values, double factor, bool wide) {
  for (double& v : values) v *= factor;
  const std::vector<std::int64_t> shape{std::ssize(values) / 3, 3};
  return wide ? HostArray::from_doubles(shape, values)
              : HostArray::from_floats(shape, {values.begin(), values.end()});
}

std::vector<std::string> pair_of(const std::string& source, const std::string& target,
                                 std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"pair", "--source", source, "--target", target, "--device", "cpu"});
  if (std::find(more.begin(), more.end(), "--output") == more.end())
    more.insert(more.end(), {"--output", "plan.npz"});
  return more;
}

}  // namespace

TEST_CASE("command: pair of costs that overflow fails in one line", "[command][pairing]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  write_npy(folder / "large.npy", scaled(numbers(20, 1), 1e30, false));
  write_npy(folder / "wide.npy", scaled(numbers(20, 1), 1e120, true));
  for (const char* method : {"exact", "sinkhorn"}) {
    // 1e240 is a double, and beyond what an assignment takes.
    check_fails(folder,
                pair_of("wide.npy", "wide.npy",
                        {"--method", method, "--batch", "5", "--cost", "square", "--precision", "fp64"}),
                1, "exact_plan: cost [0, 1] of 5×5 is");
  }
  check_fails(folder, pair_of("large.npy", "large.npy", {"--batch", "5", "--precision", "fp32"}), 1,
              "costs between finite features overflow fp32");
  CHECK_FALSE(fs::exists(folder / "plan.npz"));
}

TEST_CASE("command: pair of a set with itself is proved, in batches of any size", "[command][pairing]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  write_npy(folder / "x.npy", scaled(numbers(20, 1), 1, false));
  for (const std::string batch : {"0", "4294967296", "9223372036854775807"}) {
    const Command command(folder,
                          pair_of("x.npy", "x.npy", {"--method", "exact", "--batch", batch, "--json"}));
    CHECK(command.wait() == 0);
    CHECK(command.out().find("\"problems\": 1,") != std::string::npos);
    CHECK(command.out().find("null") == std::string::npos);
    const auto plan = read_npz(folder / "plan.npz");
    CHECK(plan.at("plan").shape == std::vector<std::int64_t>{1, 20, 20});
    CHECK(plan.at("duality_gap").to_doubles()[0] < 1e-12);
    const std::vector<std::int64_t> partner = plan.at("partner").to_integers("partner");
    for (std::size_t i = 0; i < partner.size(); ++i) CHECK(partner[i] == static_cast<std::int64_t>(i));
  }
  // The exact plan is not solved for comparison where that is not wanted.
  const Command alone(folder, pair_of("x.npy", "x.npy", {"--no-compare-exact", "--json"}));
  CHECK(alone.wait() == 0);
  CHECK(alone.out().find("\"exact_cost\": null") != std::string::npos);
}

TEST_CASE("command: pair announces a long problem", "[command][pairing]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  write_npy(folder / "x.npy", scaled(numbers(2049, 1), 1, false));
  const Command command(folder,
                        pair_of("x.npy", "x.npy", {"--epsilon", "5", "--relative", "--no-compare-exact"}));
  CHECK(command.wait() == 0);
  CHECK(command.err() == "voxot: a problem of 2049×2049 by sinkhorn\n");
  // 8193 to one: quick to solve, and above what is compared.
  write_npy(folder / "many.npy", scaled(numbers(8193, 2), 1, false));
  write_npy(folder / "one.npy", scaled(numbers(1, 3), 1, false));
  const Command large(folder, pair_of("many.npy", "one.npy"));
  CHECK(large.wait() == 0);
  CHECK(large.err().starts_with("voxot: 8193 points are more than 8192, so the exact plan is not solved"));
}

TEST_CASE("command: pair reads labels and numbers as they are", "[command][pairing]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  const HostArray data = scaled(numbers(4, 1), 1, false);
  // Neighbours above 2^24, which are one number in fp32.
  const std::int64_t big = (std::int64_t{1} << 40) + 1;
  const auto file = [&](const char* name, const std::vector<std::int64_t>& labels) {
    write_npz(folder / name, {{"data", data},
                              {"label", HostArray::from_int64({4}, labels)},
                              {"infinite", HostArray::from_floats({4}, {0, 1, INFINITY, 3})},
                              {"large", HostArray::from_floats({4}, {0, 1, 2, 1e30F})},
                              {"half", HostArray::from_floats({4}, {0, 1, 2, 2.5F})}});
  };
  file("a.npz", {big, big + 1, big, big + 1});
  file("b.npz", {big + 1, big, big + 1, big});
  REQUIRE(Command(folder, pair_of("a.npz", "b.npz", {"--within", "label", "--method", "exact"})).wait() == 0);
  const std::vector<std::int64_t> partner =
      read_npz(folder / "plan.npz").at("partner").to_integers("partner");
  for (std::size_t i = 0; i < 4; ++i) CHECK(partner[i] % 2 != static_cast<std::int64_t>(i % 2));
  for (const std::string name : {"infinite", "large", "half"}) {
    check_fails(folder, pair_of("a.npz", "b.npz", {"--within", name}), 1,
                "a.npz: " + name + ": expected whole numbers of 64 bits");
  }
  // Whole numbers as features in double: 2^25 + 1 is no float.
  const std::int64_t odd = (std::int64_t{1} << 25) + 1;
  write_npy(folder / "i.npy", HostArray::from_int64({2, 1}, {0, 10}));
  write_npy(folder / "j.npy", HostArray::from_int64({2, 1}, {odd, odd + 10}));
  REQUIRE(Command(folder,
                  pair_of("i.npy", "j.npy", {"--method", "exact", "--cost", "square", "--precision", "fp64"}))
              .wait() == 0);
  const double expected = static_cast<double>(odd) * static_cast<double>(odd);
  CHECK(read_npz(folder / "plan.npz").at("primal").to_doubles()[0] == expected);
}

TEST_CASE("command: pair refuses before it solves", "[command][pairing]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  write_npy(folder / "x.npy", scaled(numbers(6, 1), 1, false));
  write_npy(folder / "few.npy", scaled(numbers(5, 1), 1, false));
  check_fails(folder, pair_of("x.npy", "x.npy", {"--output", "plan.txt"}), 2,
              "ends in .npz, got \"plan.txt\"");
  check_fails(folder, pair_of("x.npy", "x.npy", {"--output", "none/plan.npz"}), 1,
              "none/plan.npz: cannot create a file in its folder");
  check_fails(folder, pair_of("x.npy", "x.npy", {"--picture", "none/x.png"}), 1, "none/x.png: cannot create");
  check_fails(folder, pair_of("x.npy", "x.npy", {"--picture", "x.png"}), 1,
              "x.npy: expected N×C×D×H×W volumes");
  check_fails(folder,
              pair_of("x.npy", "x.npy", {"--source-features", "few.npy", "--target-features", "x.npy"}), 1,
              "few.npy has features of 5 samples, x.npy has f32 [6, 3]");
  for (const auto& [option, value] : std::vector<std::pair<std::string, std::string>>{{"--scaling", "1"},
                                                                                      {"--scaling", "nan"},
                                                                                      {"--epsilon", "inf"},
                                                                                      {"--epsilon", "nan"},
                                                                                      {"--tolerance", "inf"}})
    check_fails(folder, pair_of("x.npy", "x.npy", {option, value}), 2, option + ": expected a number");
  CHECK_FALSE(fs::exists(folder / "plan.npz"));
  CHECK_FALSE(fs::exists(folder / "x.png"));
  // Colours that are no labels are not compared, and nothing fails.
  const HostArray colours = HostArray::from_floats({6}, std::vector<float>(6, 0.5F));
  write_npz(folder / "c.npz", {{"data", scaled(numbers(6, 1), 1, false)}, {"colours", colours}});
  const Command paired(folder, pair_of("c.npz", "c.npz", {"--json"}));
  CHECK(paired.wait() == 0);
  CHECK(paired.out().find("\"problems\": 1,") != std::string::npos);
  CHECK(paired.out().find("equal_colours") == std::string::npos);
}

TEST_CASE("command: help and info", "[command]") {
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  for (const char* name : {"train", "evaluate", "map", "render", "report", "pair", "data", "info"}) {
    const Command command(folder, {name, "--help"});
    CHECK(command.wait() == 0);
    CHECK(command.out().find("Example: voxot") != std::string::npos);
  }
  const Command info(folder, {"info", "--json"});
  CHECK(info.wait() == 0);
  const std::string cuda = kernels::cuda_devices() > 0 ? "true" : "false";
  CHECK(info.out().find("\"cuda\": " + cuda) != std::string::npos);
  CHECK(info.out().find("\"cuda_build\": \"" + kernels::cuda_build() + "\"") != std::string::npos);
  const Command listed(folder, {"info", "--kernels"});
  CHECK(listed.wait() == 0);
  CHECK(listed.out().find("conv3d_forward ") != std::string::npos);
}

TEST_CASE("command: a device that is not there is refused in one line", "[command][cuda]") {
  if (kernels::cuda_devices() > 0) {
    skip("a CUDA device is here");
    return;
  }
  const test::TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  const std::string message = kernels::cuda_build() == "off"
                                  ? "device cuda: this build has no CUDA (configure with -DVOXOT_CUDA=on)\n"
                                  : "device cuda: no usable GPU was found (";
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"train", "tiny.toml"},
        {"evaluate", "run"},
        {"info"},
        {"map", "run", "--input", "x.npy", "--output", "y.npy"},
        {"pair", "--source", "a.npy", "--target", "b.npy", "--output", "c.npz"}}) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--device", "cuda"});
    check_fails(folder, all, 2, "voxot: error: " + message);
  }
  CHECK_FALSE(fs::exists(folder / "runs"));
}

namespace {

/// A training that an emulated device does in seconds: its source is drawn on the host, its target, an array,
/// lies in the device's memory.
std::vector<std::string> small_train(const std::string& device, bool resume = false) {
  std::vector<std::string> all{"train", "tiny.toml", "--out", "run", "--device", device};
  if (resume) all.emplace_back("--resume");
  for (const char* setting :
       {"solver.steps=6", "solver.form=weak", "solver.noise_samples=2", "solver.gamma_steps=4",
        "transport.model=mlp", "potential.model=mlp", "transport.hidden=[8]", "potential.hidden=[8]",
        "source.resolution=4", "source.extrude=[1,3]", "target.dataset=npy", "target.path=target.npy",
        "target.classes=[]", "log.checkpoint_every=1", "log.keep_checkpoints=6"}) {
    all.insert(all.end(), {"--set", setting});
  }
  return all;
}

fs::path small_folder(const test::TempDirectory& directory, const std::string& name) {
  fs::path folder = tiny_folder(directory, name);
  std::vector<float> values(40 * 192);
  Random random(7, Purpose::test);
  for (float& v : values) v = random.uniform(-1, 1);
  write_npy(folder / "target.npy", HostArray::from_floats({40, 3, 4, 4, 4}, values));
  return folder;
}

}  // namespace

TEST_CASE("command: on a device, a killed run resumes to the same bits, and moves to the CPU and back",
          "[command][cuda]") {
  if (test::no_device()) return;
  const test::TempDirectory directory;
  const fs::path whole = small_folder(directory, "whole");
  REQUIRE(Command(whole, small_train("cuda")).wait() == 0);
  const fs::path killed = small_folder(directory, "killed");
  {
    const Command command(killed, small_train("cuda"));
    for (int i = 0; i < 4000 && !fs::exists(killed / "run/checkpoints/step-0000002.safetensors"); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    command.send(SIGKILL);
    command.wait();
  }
  REQUIRE(Command(killed, small_train("cuda", true)).wait() == 0);
  for (const char* file :
       {"run/metrics.jsonl", "run/checkpoints/step-0000006.safetensors", "run/transport.safetensors"}) {
    INFO(file);
    CHECK(text_of(whole / file) == text_of(killed / file));
  }
  // The same checkpoint goes on anywhere; a device's own map is what the CPU makes of it, but for rounding.
  for (int step = 3; step <= 6; ++step)
    fs::remove(killed / fmt::format("run/checkpoints/step-{:07}.safetensors", step));
  REQUIRE(Command(killed, small_train("cpu", true)).wait() == 0);
  const auto a = read_safetensors(whole / "run/transport.safetensors").tensors;
  const auto b = read_safetensors(killed / "run/transport.safetensors").tensors;
  for (const auto& [name, array] : a) {
    const std::vector<float> x = array.to_floats();
    const std::vector<float> y = b.at(name).to_floats();
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(x[i] == Approx(y[i]).epsilon(1e-3).margin(1e-3));
  }
  const HostArray input = HostArray::from_floats({2, 3, 4, 4, 4}, std::vector<float>(384, 0.25F));
  write_npy(whole / "x.npy", input);
  std::vector<std::vector<float>> mapped;
  for (const char* device : {"cpu", "cuda"}) {
    const Command command(whole, {"map", "run", "--input", "x.npy", "--output", "y.npy", "--device", device});
    REQUIRE(command.wait() == 0);
    mapped.push_back(read_npy(whole / "y.npy").to_floats());
  }
  for (std::size_t i = 0; i < mapped[0].size(); ++i) CHECK(mapped[0][i] == Approx(mapped[1][i]).margin(1e-4));
}
