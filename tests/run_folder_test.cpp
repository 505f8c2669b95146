// A run's folder: where a run begins and leaves nothing behind, who may write, which checkpoint it goes on
// from and with which config.
#include "apps/run_folder.h"

#include <nlohmann/json.hpp>

#include "engine/npy.h"
#include "kernels/philox.h"
#include "kernels/sizes.h"
#include "tests/command.h"

namespace {

using namespace voxot;
using namespace voxot::test;

constexpr const char* kPoints = R"(
[solver]
steps = 6
inner_steps = 1
batch_size = 4
precision = "fp32"
[transport]
model = "mlp"
hidden = [8]
[potential]
model = "mlp"
hidden = [8]
[optimizer.transport]
final_scale = 0.1
[optimizer.potential]
final_scale = 0.1
[source]
dataset = "npy"
path = "a.npy"
[target]
dataset = "npy"
path = "b.npy"
[log]
every = 1
samples_every = 0
validate_every = 0
checkpoint_every = 1
keep_checkpoints = 9
)";

HostArray drawn(std::vector<std::int64_t> shape, std::uint64_t seed) {
  HostArray array{FileType::f32, std::move(shape), {}};
  std::vector<float> values(to_size(array.count()));
  Random random(seed, Purpose::test);
  for (float& v : values) v = random.uniform(-1, 1);
  return HostArray::from_floats(array.shape, values);
}

/// A folder with a config, points.toml, and its data.
fs::path points_folder(const TempDirectory& directory) {
  fs::path folder = directory.path();
  std::ofstream(folder / "points.toml") << kPoints;
  write_npy(folder / "a.npy", drawn({60, 2}, 1));
  write_npy(folder / "b.npy", drawn({60, 2}, 2));
  return folder;
}

std::vector<std::string> points(const std::string& out, const std::vector<std::string>& more = {}) {
  std::vector<std::string> all{"train", "points.toml", "--out", out};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<std::string> set(const std::vector<std::string>& settings) {
  std::vector<std::string> all;
  for (const std::string& setting : settings) all.insert(all.end(), {"--set", setting});
  return all;
}

void must(const fs::path& folder, const std::vector<std::string>& arguments) {
  const Command command(folder, arguments);
  const int status = command.wait();
  INFO(command.err());
  REQUIRE(status == 0);
}

std::string step_file(int step) { return fmt::format("checkpoints/step-{:07}.safetensors", step); }

void replace_in(const fs::path& file, const std::string& from, const std::string& to) {
  std::string text = text_of(file);
  REQUIRE(text.find(from) != std::string::npos);
  text.replace(text.find(from), from.size(), to);
  std::ofstream(file, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("run folder: a run begins where nothing else is", "[run_folder]") {
  const TempDirectory directory;
  const RunFolder folder(directory / "run");
  folder.check_fresh();
  fs::create_directories(folder.path());
  folder.check_fresh();
  folder.make();
  for (const char* name : {"judge.safetensors", "kernels.tsv", ".lock", ".voxot-1-2.tmp",
                           "checkpoints/.voxot-3-4.tmp", "samples/.voxot-3-5.tmp.A1b2C3"})
    std::ofstream(folder.path() / name) << "x";
  folder.check_fresh();
  folder.clear();
  CHECK(fs::exists(folder.path() / "judge.safetensors"));
  CHECK(fs::is_empty(folder.path() / "samples"));
  for (const char* name : {"config.toml", "metrics.jsonl", "transport.safetensors",
                           "checkpoints/best.safetensors", "samples/last.npz", ".hidden", "notes.tmp"}) {
    std::ofstream(folder.path() / name) << "x";
    const std::string message = error_of([&] { folder.check_fresh(); });
    CHECK_THAT(message, Catch::Contains("expected a new or an empty folder"));
    CHECK_THAT(message, Catch::Contains(fs::path(name).begin()->string()));
    fs::remove(folder.path() / name);
  }
  std::ofstream(folder.checkpoint(7)) << "x";
  CHECK_THAT(error_of([&] { folder.check_fresh(); }), Catch::Contains("holds a run of 7 steps"));
  CHECK_THAT(error_of([&] { RunFolder(folder.path() / "kernels.tsv").check_fresh(); }),
             Catch::Contains("expected a folder"));
}

TEST_CASE("run folder: one writes at a time", "[run_folder]") {
  const TempDirectory directory;
  {
    const RunLock lock(directory.path());
    CHECK_THAT(error_of([&] { const RunLock second(directory.path()); }),
               Catch::Contains(fmt::format("a run is being trained here (process {} on ", ::getpid())));
  }
  RunLock again(directory.path());  // the lock goes, its file stays
  again.remove();
  const RunLock other(directory.path());  // of another file: a removed one locks nobody out
  CHECK(directory.entries() == 1);
}

TEST_CASE("run folder: temporary files of killed writers go, those in use stay",
          "[run_folder][atomic_file]") {
  const TempDirectory directory;
  const auto touch = [&](const std::string& name) { std::ofstream(directory / name) << "x"; };
  for (const char* name :
       {".voxot-1-1.tmp", ".voxot-1-1.tmp.AbCdEf", ".voxot-2-7.tmp.AbCdEf", "x.tmp", ".voxot-1.txt"})
    touch(name);
  replace_file_atomically(directory / "new", [&](const fs::path& temporary) {
    const std::string libzips = temporary.filename().string() + ".a00001";
    touch(libzips);
    remove_temporary_files(directory.path());
    CHECK(fs::exists(temporary));
    CHECK(fs::exists(directory / libzips));
    fs::rename(directory / libzips, temporary);  // as libzip ends
  });
  CHECK(text_of(directory / "new") == "x");
  CHECK(directory.entries() == 3);
  CHECK(fs::exists(directory / "x.tmp"));
  CHECK(fs::exists(directory / ".voxot-1.txt"));
  touch(".voxot-5-5.tmp");
  check_replaceable(directory / "new");
  CHECK(directory.entries() == 3);
}

TEST_CASE("command: a start that fails leaves nothing, and foreign files stay", "[command][run_folder]") {
  const TempDirectory directory;
  const fs::path folder = points_folder(directory);
  write_npy(folder / "three.npy", drawn({3, 2}, 3));
  write_npy(folder / "va.npy", drawn({60, 1, 8, 8, 8}, 4));
  write_npy(folder / "odd.npy", drawn({60, 1, 8, 8, 12}, 4));
  const auto fails = [&](const std::vector<std::string>& settings, const std::string& said, int status = 1) {
    const Command command(folder, points("run", set(settings)));
    CHECK(command.wait() == status);
    CHECK_THAT(command.err(), Catch::Contains(said));
    CHECK_FALSE(fs::exists(folder / "run"));
  };
  fails({"source.path=three.npy"}, "three.npy: the validation split is empty: none of its 3 items");
  fails({"transport.model=unet3d", "transport.base=2", "source.path=va.npy", "target.path=va.npy",
         "solver.batch_size=1"},
        "more than one value per channel");
  fails({"transport.model=unet3d", "transport.base=2", "source.path=odd.npy", "target.path=odd.npy"},
        "multiple", 2);
  fails({"optimizer.potential.learning_rate=1000", "transport.hidden=[8,8,8,8]", "solver.inner_steps=40",
         "optimizer.transport.kind=sgd", "optimizer.transport.learning_rate=1000"},
        "loss is");

  fs::create_directory(folder / "theirs");
  for (const char* name : {"config.toml", "metrics.jsonl"}) {
    std::ofstream(folder / "theirs" / name) << "not of a run";
    check_fails(folder, points("theirs"), 2, std::string("it holds ") + name);
    check_fails(folder, points("theirs", {"--resume=auto"}), 2, std::string("it holds ") + name);
    CHECK(text_of(folder / "theirs" / name) == "not of a run");
    fs::remove(folder / "theirs" / name);
  }
  CHECK(fs::is_empty(folder / "theirs"));
}

TEST_CASE("command: resume goes on from a whole checkpoint, or says what there is", "[command][run_folder]") {
  const TempDirectory directory;
  const fs::path folder = points_folder(directory);
  check_fails(folder, points("run", {"--resume"}), 2, "run: holds no checkpoint to resume");
  CHECK_FALSE(fs::exists(folder / "run"));
  must(folder, points("run", {"--resume=auto"}));
  check_fails(folder, points("run", {"--resume=later"}), 2, "--resume");
  check_fails(folder, points("run", {"--resume-from", "9"}), 2, "only of 0, 1, 2, 3, 4, 5, 6");
  const fs::path run = folder / "run";
  const std::string last = text_of(run / step_file(6));
  const std::string metrics = text_of(run / "metrics.jsonl");

  fs::resize_file(run / step_file(6), 1000);
  fs::resize_file(run / step_file(5), 1000);
  check_fails(folder, points("run", {"--resume"}), 1, "step-0000006.safetensors: truncated");
  check_fails(folder, points("run", {"--resume"}), 1,
              "the checkpoint of step 4 is whole: --resume-from 4 goes on from it");
  fs::rename(run / step_file(4), run / step_file(8));
  check_fails(folder, points("run", {"--resume"}), 1, "step-0000008.safetensors: it is of step 4");
  fs::rename(run / step_file(8), run / step_file(4));
  // A line that is no record is left out, and the run comes to the same end.
  replace_in(run / "metrics.jsonl", "{\"step\":3,", "\"step\":3,");
  const Command resumed(folder, points("run", {"--resume-from", "4"}));
  REQUIRE(resumed.wait() == 0);
  CHECK_THAT(resumed.err(), Catch::Contains("metrics.jsonl: 1 damaged line left out"));
  CHECK(text_of(run / step_file(6)) == last);
  const std::string left = text_of(run / "metrics.jsonl");
  CHECK(left.size() < metrics.size());
  CHECK(left.substr(left.find("{\"step\":4,")) == metrics.substr(metrics.find("{\"step\":4,")));

  // Later steps than the one to go on from belong to another future.
  fs::copy_file(run / step_file(6), run / "checkpoints/best.safetensors");
  must(folder, points("run", {"--resume-from", "2", "--set", "solver.steps=3"}));
  CHECK(RunFolder(run).steps() == std::vector<std::int64_t>{0, 1, 2, 3});
  CHECK_FALSE(fs::exists(run / "checkpoints/best.safetensors"));

  // Pictures, map and scores of later steps too.
  must(folder, {"evaluate", "run", "--samples", "16"});
  for (const char* picture : {"step-0000002.png", "step-0000003.png"})
    std::ofstream(run / "samples" / picture) << "x";
  RunFolder(run).drop_after(3, {"transport"});
  CHECK(fs::exists(run / "evaluation.json"));
  CHECK(fs::exists(run / "transport.safetensors"));
  CHECK(fs::exists(run / "samples/step-0000003.png"));
  RunFolder(run).drop_after(2, {"transport"});
  CHECK_FALSE(fs::exists(run / "evaluation.json"));
  CHECK_FALSE(fs::exists(run / "transport.safetensors"));
  CHECK_FALSE(fs::exists(run / "samples/step-0000003.png"));
  CHECK(fs::exists(run / "samples/step-0000002.png"));
}

TEST_CASE("command: a run that is longer already keeps its length", "[command][run_folder]") {
  const TempDirectory directory;
  const fs::path folder = points_folder(directory);
  must(folder, points("run"));
  const Command shorter(folder, points("run", {"--resume", "--set", "solver.steps=3"}));
  REQUIRE(shorter.wait() == 0);
  CHECK_THAT(shorter.err(), Catch::Contains("step 6 is beyond solver.steps = 3"));
  CHECK(text_of(folder / "run/config.toml").find("\nsteps = 6\n") != std::string::npos);
}

TEST_CASE("command: what a run was made with decides, not its edited config", "[command][run_folder]") {
  const TempDirectory directory;
  const fs::path folder = points_folder(directory);
  must(folder, points("run"));
  const fs::path config = folder / "run/config.toml";
  const std::string whole = text_of(config);
  const std::vector<std::string> map{"map", "run", "--input", "a.npy", "--output", "y.npy"};
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"residual = true", "residual = false"},
                                                        {"activation = \"relu\"", "activation = \"tanh\""},
                                                        {"ema = 0.99", "ema = 0.9"},
                                                        {"order = \"random\"", "order = \"shuffled\""},
                                                        {"precision = \"fp32\"", "precision = \"bf16\""}}) {
    replace_in(config, from, to);
    const std::string said =
        fmt::format("it says `{}`, but step-0000006.safetensors was made with `{}`", to, from);
    check_fails(folder, map, 2, said);
    check_fails(folder, {"evaluate", "run", "--samples", "16"}, 2, said);
    check_fails(folder, points("run", {"--resume"}), 2, said);
    std::ofstream(config) << whole;
  }
  CHECK_FALSE(fs::exists(folder / "y.npy"));
  replace_in(config, "required = 0.98", "required = 0.5");
  replace_in(config, "validate_samples = 256", "validate_samples = 8");
  replace_in(config, "\nsteps = 6", "\nsteps = 7");
  must(folder, map);
  must(folder, points("run", {"--resume"}));

  // Data may have moved, which is said; of the rest the checkpoint's holds.
  fs::rename(folder / "a.npy", folder / "c.npy");
  replace_in(config, "path = \"a.npy\"", "path = \"c.npy\"");
  replace_in(config, "learning_rate = 0.0015", "learning_rate = 0.5");
  const Command evaluate(folder, {"evaluate", "run", "--samples", "16"});
  REQUIRE(evaluate.wait() == 0);
  CHECK_THAT(evaluate.err(),
             Catch::Contains("source.path is now \"c.npy\"; step-0000006.safetensors was made "
                             "with \"a.npy\""));
  CHECK_THAT(evaluate.err(), Catch::Contains("says `learning_rate = 0.5`"));
}

TEST_CASE("command: an exported perceptron answers as its run does", "[command][run_folder]") {
  const TempDirectory directory;
  const fs::path folder = points_folder(directory);
  must(folder, points("run"));
  must(folder, {"map", "run", "--input", "a.npy", "--output", "of_run.npy"});
  must(folder, {"map", "run/transport.safetensors", "--input", "a.npy", "--output", "of_file.npy"});
  CHECK(text_of(folder / "of_run.npy") == text_of(folder / "of_file.npy"));
}

TEST_CASE("command: readers are not locked out while a run is trained", "[command][run_folder]") {
  const TempDirectory directory;
  const fs::path folder = points_folder(directory);
  must(folder, points("run", set({"solver.steps=2"})));
  const RunLock lock(folder / "run");
  check_fails(folder, points("run", {"--resume"}), 1, "run: a run is being trained here (process");
  must(folder, {"map", "run", "--input", "a.npy", "--output", "y.npy"});
  must(folder, {"evaluate", "run", "--samples", "16"});
  must(folder, {"report", "run", "--json"});
}

TEST_CASE("command: a longer run keeps its first schedule", "[command][run_folder]") {
  const TempDirectory directory;
  const fs::path folder = points_folder(directory);
  must(folder, points("whole", set({"solver.steps=10", "solver.schedule_steps=6"})));
  must(folder, points("longer"));
  const std::string six = text_of(folder / "longer" / step_file(6));
  must(folder, points("longer", {"--resume", "--set", "solver.steps=10"}));
  CHECK(text_of(folder / "longer/transport.safetensors") == text_of(folder / "whole/transport.safetensors"));
  CHECK(text_of(folder / "longer/metrics.jsonl") == text_of(folder / "whole/metrics.jsonl"));
  CHECK(text_of(folder / "longer/config.toml").find("\nschedule_steps = 6\n") != std::string::npos);
  CHECK(text_of(folder / "longer" / step_file(6)) == six);

  // To rate 0 and beyond there is nothing to learn, unless the schedule is given anew.
  const std::vector<std::string> zero = set({"optimizer.potential.final_scale=0"});
  must(folder, points("zero", zero));
  std::vector<std::string> more = zero;
  more.insert(more.end(), {"--set", "solver.steps=8", "--resume"});
  check_fails(folder, points("zero", more), 2, "--set solver.schedule_steps=8");
  check_fails(folder, points("zero", more), 2, "optimizer.potential ends at 0 after 6 steps");
  check_fails(folder, points("zero", more), 2, "--init-from zero");
  more.insert(more.end(), {"--set", "solver.schedule_steps=8"});
  must(folder, points("zero", more));
  CHECK(text_of(folder / "zero/config.toml").find("\nschedule_steps = 8\n") != std::string::npos);
}

TEST_CASE("command: another number of threads is told at resume", "[command][run_folder]") {
  const TempDirectory directory;
  const fs::path folder = points_folder(directory);
  const auto with = [&](const char* threads, std::vector<std::string> more) {
    more.insert(more.end(), {"--threads", threads, "--device", "cpu"});
    const Command command(folder, points("run", more));
    REQUIRE(command.wait() == 0);
    return command.err();
  };
  CHECK(with("1", set({"solver.steps=2"})).find("last bits") == std::string::npos);
  CHECK(with("1", {"--resume", "--set", "solver.steps=3"}).find("last bits") == std::string::npos);
  const std::string told = with("3", {"--resume", "--set", "solver.steps=4"});
  CHECK_THAT(told, Catch::Contains("step 3 was computed with 1 threads"));
  CHECK_THAT(told, Catch::Contains("the next ones are with 3 threads"));
}

TEST_CASE("command: evaluate prints its scores before it fails to keep them", "[command][run_folder]") {
  const TempDirectory directory;
  const fs::path folder = points_folder(directory);
  must(folder, points("run", set({"solver.steps=2"})));
  fs::create_directory(folder / "run/evaluation.json");  // as little to be written as in a read-only folder
  const Command command(folder, {"evaluate", "run", "--samples", "16", "--json"});
  CHECK(command.wait() == 1);
  CHECK(nlohmann::json::parse(command.out()).at("samples") == 16);
  CHECK_THAT(command.err(), Catch::StartsWith("voxot: the scores will be printed and not kept"));
  CHECK_THAT(command.err(), Catch::Contains("voxot: error: run/evaluation.json: cannot replace it"));
  check_fails(folder, {"map", "run", "--input", "a.npy", "--output", "run/evaluation.json"}, 1,
              "cannot replace it");
  check_fails(folder, {"map", "run", "--input", "missing.npy", "--output", "nowhere/y.npy"}, 1,
              "nowhere/y.npy");
}
