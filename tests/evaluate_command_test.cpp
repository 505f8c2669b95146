// `voxot evaluate` and `voxot map` on runs of their own: what is scored is what is mapped, and what a state
// dict from PyTorch gives.
#include <nlohmann/json.hpp>

#include "engine/npy.h"
#include "engine/safetensors.h"
#include "tests/command.h"
#include "tests/golden.h"

namespace {

using namespace voxot;
using namespace voxot::test;
using nlohmann::json;

json scores_of(const fs::path& run) { return json::parse(text_of(run / "evaluation.json")); }

std::vector<float> mapped(const fs::path& folder, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "map");
  arguments.insert(arguments.end(), {"--input", "x.npy", "--output", "y.npy"});
  const Command command(folder, arguments);
  const int status = command.wait();
  INFO(command.err());
  REQUIRE(status == 0);
  return read_npy(folder / "y.npy").to_floats();
}

void make_volumes(const fs::path& folder) {
  REQUIRE(Command(folder, {"data", "make", "digits", "--output", "x.npz", "--count", "3"}).wait() == 0);
  write_npy(folder / "x.npy", read_npz(folder / "x.npz").at("data"));
}

}  // namespace

TEST_CASE("command: evaluate scores the best checkpoint, or the last, and map applies it", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  std::vector<std::string> arguments = train();
  for (const char* setting :
       {"solver.steps=8", "solver.ema=0.5", "log.validate_every=2", "log.validate_samples=16",
        "judge.steps=20", "judge.width=4", "judge.required=0"})
    arguments.insert(arguments.end(), {"--set", setting});
  REQUIRE(Command(folder, arguments).wait() == 0);
  const fs::path run = folder / "run";
  const std::string judge = text_of(run / "judge.safetensors");

  const Command table(folder, {"evaluate", "run", "--samples", "24"});
  REQUIRE(table.wait() == 0);
  CHECK(table.out().find("target accuracy") != std::string::npos);
  CHECK(table.err().find("judge ") == std::string::npos);  // the run's own is taken
  CHECK(text_of(run / "judge.safetensors") == judge);
  const json best = scores_of(run);
  CHECK(best.at("samples") == 24);
  CHECK(best.at("target_accuracy").is_number());
  CHECK(best.at("target_accuracy_by_colour").size() == 4);
  CHECK(best.at("transport_cost").get<double>() > 0);
  CHECK(best.at("discrete_cost").get<double>() > 0);
  CHECK(best.at("feature_distance").get<double>() > best.at("feature_distance_real").get<double>());
  CHECK(best.at("l2_uvp").is_null());

  // The step that is told is that of a validation, the one with the best score.
  double score = -1;
  std::int64_t step = 0;
  std::istringstream lines(text_of(run / "metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const json metrics = json::parse(line);
    if (metrics.at("kind") != "validate") continue;
    const double now = metrics.at("target_accuracy").get<double>() * metrics.at("colour_kept").get<double>();
    if (now >= score) {
      score = now;
      step = metrics.at("step").get<std::int64_t>();
    }
  }
  CHECK(best.at("step") == step);

  REQUIRE(Command(folder, {"evaluate", "run", "--samples", "24", "--checkpoint", "last"}).wait() == 0);
  CHECK(scores_of(run).at("step") == 8);

  // map takes the same checkpoints; another best one makes another map.
  make_volumes(folder);
  const std::vector<float> last = mapped(folder, {"run", "--checkpoint", "last"});
  CHECK(mapped(folder, {"run/transport.safetensors"}) == last);
  fs::copy_file(run / "checkpoints/step-0000006.safetensors", run / "checkpoints/best.safetensors",
                fs::copy_options::overwrite_existing);
  CHECK(mapped(folder, {"run"}) != last);
  REQUIRE(Command(folder, {"evaluate", "run", "--samples", "24"}).wait() == 0);
  CHECK(scores_of(run).at("step") == 6);

  // Where a branch drops a best one of later steps, it keeps a best one of its own.
  fs::copy_file(run / "checkpoints/step-0000008.safetensors", run / "checkpoints/best.safetensors",
                fs::copy_options::overwrite_existing);
  SafetensorsFile six = read_safetensors(run / "checkpoints/step-0000006.safetensors");
  six.metadata["best_score"] = "1";
  write_safetensors(run / "checkpoints/step-0000006.safetensors", six);
  std::vector<std::string> branch = arguments;
  branch.insert(branch.end(), {"--resume-from", "6"});
  REQUIRE(Command(folder, branch).wait() == 0);
  CHECK(fs::exists(run / "checkpoints/best.safetensors"));

  // A judge that does not reach what is asked of it gives no verdict.
  std::string config = text_of(run / "config.toml");
  const std::string key = "required = 0.0";
  REQUIRE(config.find(key) != std::string::npos);
  config.replace(config.find(key), key.size(), "required = 1.0");
  std::ofstream(run / "config.toml") << config;
  const Command refused(folder, {"evaluate", "run", "--samples", "24"});
  REQUIRE(refused.wait() == 0);
  CHECK(refused.err().find("target accuracy is refused") != std::string::npos);
  CHECK(scores_of(run).at("target_accuracy").is_null());
  CHECK(scores_of(run).at("judge_accuracy").is_number());

  std::ofstream(run / "checkpoints/best.safetensors", std::ios::trunc) << "no checkpoint";
  check_fails(folder, {"evaluate", "run"}, 1, "best.safetensors");
}

TEST_CASE("command: evaluate's L2-UVP is that of the mapped test rows", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  std::map<std::string, HostArray> arrays;
  float phase = 0;
  for (const char* name : {"source", "target", "test_source", "test_target"}) {
    std::vector<float> values(128);
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = std::sin(0.7F * static_cast<float>(i) + phase);
    arrays[name] = HostArray::from_floats({64, 2}, values);
    phase += 1;
  }
  arrays["target_var"] = HostArray::from_floats({}, {1.25F});
  write_npz(folder / "pairs.npz", arrays);
  for (const std::string form : {"strong", "weak"}) {
    std::ofstream(folder / "tiny.toml", std::ios::trunc)
        << "[solver]\nform = \"" << form << "\"\nsteps = 5\nbatch_size = 8\n"
        << "[transport]\nmodel = \"mlp\"\nhidden = [8]\n[potential]\nmodel = \"mlp\"\nhidden = [8]\n"
        << "[source]\ndataset = \"w2bench\"\npath = \"pairs.npz\"\n[target]\ndataset = \"w2bench\"\n"
        << "[log]\nvalidate_every = 0\n";
    REQUIRE(Command(folder, {"train", "tiny.toml", "--out", form}).wait() == 0);
    REQUIRE(Command(folder, {"evaluate", form, "--samples", "16"}).wait() == 0);
    const json scores = scores_of(folder / form);
    if (form == "weak") {  // whose optimal map is another
      CHECK(scores.at("l2_uvp").is_null());
      CHECK(scores.at("diversity").at("variance").get<double>() > 0);
      continue;
    }
    write_npy(folder / "x.npy", arrays.at("test_source"));
    const std::vector<float> got = mapped(folder, {form});
    const std::vector<float> truth = arrays.at("test_target").to_floats();
    double error = 0;
    for (std::size_t i = 0; i < got.size(); ++i) error += (got[i] - truth[i]) * (got[i] - truth[i]);
    CHECK(scores.at("l2_uvp").get<double>() == Approx(100 * error / 64 / 1.25).epsilon(1e-5));
    const std::vector<float> from = arrays.at("test_source").to_floats();
    double along = 0;
    double ours = 0;
    double theirs = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      along += (got[i] - from[i]) * (truth[i] - from[i]);
      ours += (got[i] - from[i]) * (got[i] - from[i]);
      theirs += (truth[i] - from[i]) * (truth[i] - from[i]);
    }
    CHECK(scores.at("cosine").get<double>() == Approx(along / std::sqrt(ours * theirs)).margin(1e-5));
  }
}

TEST_CASE("command: map applies a run's map and its exported weights alike", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  make_volumes(folder);
  for (const std::string normalisation : {"batch", "group", "instance", "none"}) {
    INFO(normalisation);
    const std::string run = "run_" + normalisation;
    REQUIRE(Command(folder, {"train", "tiny.toml", "--out", run, "--set", "solver.steps=2", "--set",
                             "transport.normalisation=" + normalisation})
                .wait() == 0);
    const std::vector<float> exported = mapped(folder, {run + "/transport.safetensors"});
    CHECK(mapped(folder, {run}) == exported);
    CHECK(read_npy(folder / "y.npy").shape == read_npy(folder / "x.npy").shape);
  }
  REQUIRE(Command(folder, {"render", "y.npy", "--output", "y.png"}).wait() == 0);
  CHECK(text_of(folder / "y.png").starts_with("\x89PNG"));
}

TEST_CASE("command: map gives PyTorch's answer for PyTorch's state dict", "[command][goldens]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  const Golden golden("unet3d");
  SafetensorsFile weights;
  weights.tensors = golden.below("weight.");
  // The running statistics that the answer was made with.
  for (const auto& [name, array] : golden.below("cubic.buffer_after.")) weights.tensors[name] = array;
  write_safetensors(folder / "published.safetensors", weights);
  write_npy(folder / "x.npy", golden.array("cubic.input"));
  const std::vector<float> got = mapped(folder, {"published.safetensors", "--residual", "no"});
  const std::vector<double> expected = golden.values("cubic.output_eval");
  CHECK(distance(std::vector<double>(got.begin(), got.end()), expected) < 1e-5);
}
