// The config: defaults, round trip, overrides, and one clear line for everything that is wrong.
#include "apps/config.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "apps/known_keys.h"
#include "tests/temp_directory.h"

using namespace voxot;

namespace {

std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_config(text, "demo.toml", overrides);
  } catch (const UsageError& error) {
    std::string message = error.what();
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.size() < 600);
    return message;
  }
  return "no error";
}

}  // namespace

TEST_CASE("config: a later file wins key by key, an override over all", "[config]") {
  const ConfigText layers[] = {{"[solver]\nsteps = 7\nbatch_size = 3\n[log]\nevery = 2\n", "first.toml"},
                               {"[solver]\nsteps = 8\n", "second.toml"}};
  const RunConfig config = parse_config(layers, {"log.every=9"});
  CHECK(config.solver.steps == 8);
  CHECK(config.solver.batch_size == 3);
  CHECK(config.log.every == 9);
  const ConfigText wrong[] = {{"[solver]\nsteps = 7\n", "first.toml"},
                              {"[solver]\nstep = 8\n", "second.toml"}};
  CHECK_THROWS_WITH(parse_config(wrong), Catch::Contains("second.toml:2") && Catch::Contains("solver.steps"));
}

TEST_CASE("config: an empty text gives the defaults", "[config]") {
  const RunConfig config = parse_config("", "empty.toml");
  CHECK(value_of(config, "solver.kind") == "\"neural_ot\"");
  CHECK(value_of(config, "solver.form") == "\"strong\"");
  CHECK(value_of(config, "solver.inner_steps") == "4");
  CHECK(value_of(config, "optimizer.transport.betas") == "[0.5, 0.999]");
  CHECK_FALSE(value_of(config, "solver.gamma").has_value());
  CHECK(config.source.extrude == std::array<int, 2>{5, 11});
  CHECK(config == RunConfig{});
}

TEST_CASE("config: the resolved text reads back equal", "[config]") {
  const RunConfig config = parse_config(R"(
    [solver]
    form = "weak"
    seed = 9007199254740993
    noise_std = 0.30000000000000004
    [optimizer.potential]
    schedule = "steps"
    milestones = [10, 20]
    learning_rate = 1e-300
    weight_decay = 3
    [source]
    classes = [3]
    [log]
    out = "a \"quoted\" \\ name\twith\u0001controls"
  )",
                                        "demo.toml");
  CHECK(value_of(config, "solver.cost") == "\"weak_quadratic\"");
  CHECK(value_of(config, "solver.noise_channels") == "1");
  CHECK(config.log.out ==
        "a \"quoted\" \\ name\twith\x01"
        "controls");
  const RunConfig again = parse_config(to_toml(config), "again.toml");
  CHECK(again == config);
  CHECK(to_toml(again) == to_toml(config));
  CHECK(again.solver.seed == 9007199254740993);
  CHECK(value_of(again, "solver.noise_std") == "0.30000000000000004");
  CHECK(value_of(again, "optimizer.potential.learning_rate") == "1e-300");
  CHECK(value_of(again, "optimizer.potential.milestones") == "[10, 20]");
  CHECK_FALSE(again == RunConfig{});
}

TEST_CASE("config: the extruded slices follow the resolution unless they are given", "[config]") {
  const std::string both = "[source]\nresolution = 32\n[target]\nresolution = 32\n";
  const RunConfig config = parse_config(both + "extrude = [0, 32]\n", "demo.toml");
  CHECK(config.source.extrude == std::array<int, 2>{10, 22});
  CHECK(config.target.extrude == std::array<int, 2>{0, 32});
}

TEST_CASE("config: overrides win, the later over the earlier", "[config]") {
  const RunConfig config =
      parse_config("[solver]\nsteps = 7\nema = 0.5\n", "demo.toml",
                   {"solver.steps=8", "solver.steps = 9", "log.out=runs/my-run", "solver.form=weak",
                    "source.classes=[3, 5]", "optimizer.transport.learning_rate=1",
                    "solver.freeze_batchnorm=false", "potential={nf = 4}", "source.colour=\"six\""});
  CHECK(config.solver.steps == 9);
  CHECK(value_of(config, "solver.ema") == "0.5");
  CHECK(config.log.out == "runs/my-run");
  CHECK(value_of(config, "solver.cost") == "\"weak_quadratic\"");
  CHECK(config.source.classes == std::vector<int>{3, 5});
  CHECK(value_of(config, "optimizer.transport.learning_rate") == "1.0");
  CHECK(value_of(config, "solver.freeze_batchnorm") == "false");
  CHECK(value_of(config, "potential.nf") == "4");
  CHECK(config.source.colour == "six");
}

TEST_CASE("config: unknown keys are refused with the nearest known one", "[config]") {
  struct Case {
    const char* text;
    const char* message;
  };
  const Case cases[] = {
      {"[solver]\nsteps = 3\nstpes = 3\n",
       "demo.toml:3: unknown key \"solver.stpes\"; did you mean \"solver.steps\"?"},
      {"[sorce]\ndataset = \"auto\"\n",
       "demo.toml:1: unknown key \"sorce.dataset\"; did you mean \"source.dataset\"?"},
      {"[solver]\nlearning_rate = 1\n",
       "did you mean \"optimizer.transport.learning_rate\" or \"optimizer.potential.learning_rate\"?"},
      {"batchsize = 1\n", "demo.toml:1: unknown key \"batchsize\"; did you mean \"solver.batch_size\"?"},
      {"[optimiser.transport]\nkind = \"sgd\"\n", "did you mean \"optimizer.transport.kind\"?"},
      {"[solver.steps]\nx = 1\n",
       "demo.toml:1: solver.steps: expected an integer of at least 1 and at most 1000000000, "
       "got a table"},
      {"[completely.different_things_here]\n", "the tables are solver, transport"},
      {"\"new\\nline\" = 1\n", "unknown key \"new\\u000Aline\""},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    CHECK_THAT(error_of(c.text), Catch::Contains(c.message));
  }
  CHECK(error_of("", {"solver.stpes=3"}) ==
        "--set solver.stpes=3: unknown key \"solver.stpes\"; did you mean \"solver.steps\"?");
}

TEST_CASE("config: what other programs call a key is suggested by its meaning", "[config]") {
  const std::pair<const char*, const char*> cases[] = {
      {"source.file=\"a.npy\"", "did you mean \"source.path\"?"},
      {"target.file=\"a.npy\"", "did you mean \"target.path\"?"},
      {"judge.flie=\"a\"", "did you mean \"judge.file\"?"},
      {"solver.lr=1",
       "did you mean \"optimizer.transport.learning_rate\" or \"optimizer.potential.learning_rate\"?"},
      {"optimizer.potential.lr=1", "did you mean \"optimizer.potential.learning_rate\"?"},
      {"lr=1", "\"optimizer.transport.learning_rate\" or"},
      {"solver.epochs=3", "did you mean \"solver.steps\"?"},
      {"solver.batch=3", "did you mean \"solver.batch_size\"?"},
      {"solver.optimizer=adam", "did you mean \"optimizer.transport.kind\"?"},
      {"source.digits=[3]", "did you mean \"source.classes\"?"},
      {"log.save_every=3", "did you mean \"log.checkpoint_every\"?"},
      {"solver.device=cuda", "did you mean the option --device?"},
  };
  for (const auto& [option, message] : cases) {
    INFO(option);
    CHECK_THAT(error_of("", {option}), Catch::Contains(message));
  }
  // Every synonym leads to a key that there is, and is none itself.
  KnownKeys known;
  for (const KeySynonym& synonym : key_synonyms()) {
    INFO(synonym.word);
    const std::string said = known.suggest(std::string("nowhere.") + synonym.word);
    CHECK_THAT(said, Catch::Contains("did you mean") && Catch::Contains(synonym.key));
  }
  CHECK(range_of_key("source.resolution").high == 256);
  CHECK_THROWS_AS(range_of_key("source.path"), Error);
}

TEST_CASE("config: seeds go to 2^63 - 1 and no further", "[config]") {
  CHECK(parse_config("[solver]\nseed = 9223372036854775807\n", "demo.toml").solver.seed ==
        9223372036854775807);
  CHECK_THAT(error_of("[solver]\nseed = 9223372036854775808\n"), Catch::Contains("9223372036854775808"));
  CHECK_THAT(error_of("[solver]\nseed = -1\n"),
             Catch::Contains("of at least 0 and at most 9223372036854775807, got -1"));
}

TEST_CASE("config: wrong types and values say what was expected and what came", "[config]") {
  struct Case {
    const char* text;
    const char* message;
  };
  const Case cases[] = {
      {"[solver]\nsteps = \"many\"\n",
       "demo.toml:2: solver.steps: expected an integer of at least 1 and at most "
       "1000000000, got \"many\""},
      {"[solver]\nsteps = 10.0\n",
       "solver.steps: expected an integer of at least 1 and at most 1000000000, got 10.0"},
      {"[solver]\nsteps = 0\n", "got 0"},
      {"[solver]\nseed = -1\n", "solver.seed: expected an integer"},
      {"[solver]\nform = \"week\"\n", "solver.form: expected \"strong\" or \"weak\", got \"week\""},
      {"[solver]\nform = 3\n", "got 3"},
      {"[transport]\nmodel = \"mlp\"\nactivation = \"celu\"\n", "transport.activation: expected \"relu\""},
      {"[source]\ndataset = \"gaussian\"\nrole = \"both\"\n",
       "source.role: expected \"source\" or \"target\""},
      {"[source]\ndataset = \"gaussian\"\ndimension = 0\n",
       "source.dimension: expected an integer of at least 1"},
      {"[solver]\nema = 1.0\n", "solver.ema: expected a number of at least 0 and less than 1, got 1.0"},
      {"[solver]\nform = \"weak\"\ngamma = nan\n", "solver.gamma: expected a number"},
      {"[solver]\nform = \"weak\"\ngamma = inf\n", "got inf"},
      {"[solver]\nfreeze_batchnorm = 1\n", "expected true or false, got 1"},
      {"[solver]\nema = 1979-05-27\n", "got a date or time"},
      {"[optimizer.transport]\nlearning_rate = 0\n", "expected a number greater than 0"},
      {"[optimizer.transport]\nbetas = [0.5]\n", "expected an array of 2 numbers, got an array of 1"},
      {"[optimizer.transport]\nbetas = [0.5, \"x\"]\n", "less than 1, got \"x\""},
      {"[source]\nclasses = [1.5]\n", "source.classes: expected an integer"},
      {"[source]\nclasses = 3\n", "source.classes: expected an array of integers, got 3"},
      {"[source]\nclasses = [12]\n", "source.classes: expected digits from 0 to 9, got 12"},
      {"[source]\nclasses = [3, 3]\n", "expected each class once, got 3 twice"},
      {"[source]\nextrude = [1]\n", "expected an array of 2 integers"},
      {"[source]\nextrude = [11, 5]\n",
       "source.extrude: expected [first, last) within 16 slices, got [11, 5]"},
      {"solver = 3\n", "demo.toml:1: solver: expected a table, got 3"},
      {"[[solver]]\n", "solver: expected a table, got an array"},
      {"[log]\nout = 7\n", "demo.toml:2: log.out: expected a string, got 7"},
      {"[log]\nout = \"a\\u0000b\"\n", "log.out: expected a string"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    CHECK_THAT(error_of(c.text), Catch::Contains(c.message));
  }
}

TEST_CASE("config: settings that contradict each other are refused", "[config]") {
  struct Case {
    const char* text;
    const char* message;
  };
  const Case cases[] = {
      {"[solver]\ncost = \"weak_quadratic\"\n", "solver.cost: the strong form expects \"quadratic\""},
      {"[solver]\nform = \"weak\"\nnoise_channels = 0\n",
       "solver.noise_channels: the weak form expects at least 1"},
      {"[solver]\nform = \"weak\"\nnoise_samples = 1\n", "solver.noise_samples"},
      {"[potential]\nnf_max = 8\n", "potential.nf_max: expected at least potential.nf, 16, got 8"},
      {"[optimizer.transport]\nschedule = \"steps\"\n",
       "optimizer.transport.milestones: expected rising steps for schedule \"steps\", got []"},
      {"[optimizer.transport]\nschedule = \"steps\"\nmilestones = [5, 5]\n",
       "expected rising steps for schedule \"steps\", got [5, 5]"},
      {"[source]\ndataset = \"npy\"\n", "source.path: expected with source.dataset \"npy\", got none"},
      {"[source]\ndataset = \"mnist\"\n", "target.dataset: expected images as the source has"},
      {"[source]\ndataset = \"kaggle3d\"\n[target]\ndataset = \"usps\"\n",
       "target.dataset: expected volumes as the source has"},
      {"[source]\ndataset = \"mnistm\"\n[target]\ndataset = \"usps\"\ncolour = \"none\"\n",
       "target.colour: expected as many channels"},
      {"[source]\nresolution = 32\n", "target.resolution: expected that of the source, 32, got 16"},
      {"[source]\ncolour = \"none\"\n", "target.colour: expected as many channels"},
      {"[source]\ndataset = \"gaussian\"\n", "target.dataset: expected \"gaussian\" as the source has"},
      {"[source]\ndataset = \"w2bench\"\n", "source.path: expected with source.dataset \"w2bench\""},
      {"[source]\ndataset = \"gaussian\"\ndimension = 3\n[target]\ndataset = \"gaussian\"\n",
       "target: expected field, dimension and resolution of the source"},
      {"[source]\nclasses = [3]\n[target]\nclasses = [5]\n[judge]\nclasses = [5]\n",
       "judge.classes: expected all classes of source and target, got [5] without 3"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    CHECK_THAT(error_of(c.text), Catch::Contains(c.message));
    CHECK_THAT(error_of(c.text), Catch::StartsWith("demo.toml: "));
  }
}

TEST_CASE("config: what is no TOML is one line with file and line", "[config]") {
  CHECK_THAT(error_of("[solver]\nsteps = = 3\n"), Catch::StartsWith("demo.toml:2: "));
  CHECK_THAT(error_of("\n[=]\n"), Catch::StartsWith("demo.toml:2: "));
  CHECK_THAT(error_of("\xc4\x8e = 3\n"), Catch::StartsWith("demo.toml:1: "));
  CHECK_THAT(error_of("[solver\n"), Catch::StartsWith("demo.toml:1: "));
  CHECK_THAT(error_of("[solver]\nsteps = 3\nsteps = 4\n"), Catch::StartsWith("demo.toml:3: "));
  CHECK_THAT(error_of("[log]\nout = \"unfinished"), Catch::StartsWith("demo.toml:2: "));
  CHECK_THAT(error_of("[log]\nout = \"\"\"unfinished\n\n"), Catch::StartsWith("demo.toml:"));
  CHECK_THAT(error_of("[solver]\nsteps = 99999999999999999999\n"), Catch::StartsWith("demo.toml:2: "));
  CHECK_THAT(error_of(std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16)), Catch::StartsWith("demo.toml:1: "));
  CHECK_THAT(error_of(std::string(64, '\0')), Catch::StartsWith("demo.toml:1: "));
  CHECK_THAT(error_of(std::string("\xff\xfe[\0s\0", 6)), Catch::StartsWith("demo.toml:1: "));
  CHECK_THAT(error_of("a = \"\xc3\x28\"\n"), Catch::StartsWith("demo.toml:1: "));
}

TEST_CASE("config: hostile nesting and sizes are refused without a crash", "[config]") {
  const auto repeat = [](const std::string& part, int n) {
    std::string all;
    for (int i = 0; i < n; ++i) {
      all += part;
    }
    return all;
  };
  CHECK_THAT(error_of("a = " + repeat("[", 30000)), Catch::StartsWith("demo.toml:1: "));
  CHECK_THAT(error_of("a = " + repeat("{a=", 20000)), Catch::StartsWith("demo.toml:1: "));
  CHECK_THAT(error_of("[a" + repeat(".a", 30000) + "]\n"),
             Catch::Contains("at most 65536 bytes and 4096 dots"));
  CHECK_THAT(error_of("a" + repeat(".a", 4000) + " = 1\n"), Catch::Contains("unknown key"));
  CHECK_THAT(error_of("[solver" + repeat(".a", 4000) + "]\n"), Catch::Contains("unknown key"));
  CHECK_THAT(error_of(repeat("# padding\n", 7000)), Catch::Contains("65536 bytes"));
  CHECK_THAT(error_of(repeat("k", 60000) + " = 1\n"), Catch::Contains("unknown key"));
  CHECK_THAT(error_of("", {"solver.steps=" + repeat("[", 30000)}), Catch::Contains("--set solver.steps=["));
  CHECK_THAT(error_of("", {repeat("a.", 30000) + "a=3"}), Catch::Contains("unknown key"));
}

TEST_CASE("config: wrong overrides name themselves", "[config]") {
  CHECK_THAT(error_of("", {"solver.steps"}), Catch::Contains("--set solver.steps: expected key=value"));
  CHECK_THAT(error_of("", {"=3"}), Catch::Contains("expected key=value"));
  CHECK_THAT(error_of("", {""}), Catch::Contains("expected key=value"));
  CHECK_THAT(error_of("", {"solver.steps=12x"}), Catch::Contains("got \"12x\""));
  CHECK_THAT(error_of("", {"solver.steps="}), Catch::Contains("got \"\""));
  CHECK_THAT(error_of("", {"source.classes=[3"}), Catch::Contains("--set source.classes=[3"));
  CHECK_THAT(error_of("", {"solver.steps=3\nsolver.seed=4"}),
             Catch::Contains("expected a value of one line"));
  CHECK_THAT(error_of("", {"solver=3"}), Catch::Contains("solver: expected a table, got 3"));
}

TEST_CASE("config: files that are missing, directories or too long", "[config]") {
  const test::TempDirectory folder;
  CHECK_THROWS_WITH(load_config(folder / "none.toml"), Catch::Contains("no such config file"));
  CHECK_THROWS_WITH(load_config(folder.path()), Catch::Contains("got a directory"));
  std::ofstream(folder / "long.toml") << std::string(70000, '#');
  CHECK_THROWS_WITH(load_config(folder / "long.toml"), Catch::Contains("at most 65536 bytes"));
  std::ofstream(folder / "empty.toml") << "";
  CHECK(load_config(folder / "empty.toml") == RunConfig{});
  std::ofstream(folder / "good.toml") << "[solver]\r\nsteps = 3\r\n";
  CHECK(load_config(folder / "good.toml", {"solver.seed=5"}).solver.steps == 3);
}

TEST_CASE("config: a key that has no effect is refused like an unknown one", "[config]") {
  struct Case {
    const char* text;
    const char* message;
  };
  const Case cases[] = {
      {"[solver]\nsteps = 3\ngamma = 0.5\n",
       "demo.toml:3: solver.gamma: has no effect here; it goes with solver.form = \"weak\""},
      {"[solver]\nnoise_channels = 0\n", "goes with solver.form = \"weak\""},
      {"[transport]\nmodel = \"mlp\"\nbase = 8\n",
       "transport.base: has no effect here; it goes with transport.model = \"unet3d\""},
      {"[transport]\nhidden = [8]\n", "goes with transport.model = \"mlp\""},
      {"[potential]\nmodel = \"mlp\"\nnf = 8\n", "goes with potential.model = \"resnet3d\""},
      {"[solver]\nfreeze_batchnorm = true\n[transport]\nnormalisation = \"group\"\n",
       "solver.freeze_batchnorm: has no effect here"},
      {"[optimizer.transport]\nmomentum = 0.9\n",
       "goes with optimizer.transport.kind = \"sgd\" or \"rmsprop\""},
      {"[optimizer.potential]\nkind = \"sgd\"\nbetas = [0, 0]\n",
       "goes with optimizer.potential.kind = \"adam\" or \"adamw\""},
      {"[optimizer.transport]\nschedule = \"constant\"\nfinal_scale = 0.1\n",
       "goes with optimizer.transport.schedule = \"linear\" or \"cosine\""},
      {"[optimizer.transport]\nmilestones = [3]\n", "goes with optimizer.transport.schedule = \"steps\""},
      {"[source]\npath = \"x.npy\"\n", "goes with source.dataset = kaggle3d, npy or w2bench"},
      {"[source]\ndataset = \"kaggle3d\"\nkey = \"x\"\n",
       "source.key: has no effect here; it goes with source.dataset = npy"},
      {"[target]\nrotation_degrees = 30\n",
       "target.rotation_degrees: has no effect here; it goes with target.rotation"},
      {"[source]\nrotate = \"before\"\n", "goes with source.rotation"},
      {"[source]\nnoise = 0.1\n", "goes with source.dataset = kaggle3d"},
      {"[source]\ndataset = \"kaggle3d\"\npath = \"x.h5\"\nnoise = 0.1\n", "goes with source.path = \"\""},
      {"[source]\ndataset = \"mnist\"\nextrude = [0, 1]\n",
       "goes with source.dataset = auto, mnist3d or digits"},
      {"[source]\ndataset = \"mnistm\"\ncolour = \"six\"\n", "source.colour: has no effect here"},
      {"[source]\ndataset = \"npy\"\npath = \"x.npy\"\nresolution = 8\n",
       "source.resolution: has no effect here"},
      {"[source]\nseed = 3\n", "goes with source.dataset = gaussian"},
      {"[target]\nrole = \"target\"\n", "goes with target.dataset = gaussian or w2bench"},
      {"[source]\ndataset = \"gaussian\"\nclasses = [3]\n", "source.classes: has no effect here"},
      {"[source]\ndataset = \"gaussian\"\nresolution = 8\n", "goes with source.field = true"},
      {"[source]\ndataset = \"gaussian\"\nfield = true\ndimension = 8\n", "goes with source.field = false"},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    CHECK_THAT(error_of(c.text), Catch::Contains(c.message));
  }
  CHECK_THAT(error_of("", {"solver.gamma=0.5"}),
             Catch::StartsWith("--set solver.gamma=0.5: solver.gamma: has no effect here"));
  // The key that decides may come later, also in another table.
  CHECK(error_of("[solver]\ngamma = 0.5\nform = \"weak\"\n") == "no error");
  CHECK(error_of("", {"solver.gamma=0.5", "solver.form=weak"}) == "no error");
}

TEST_CASE("config: what a later layer leaves without effect was no mistake where it stands", "[config]") {
  const ConfigText weak{"[solver]\nform = \"weak\"\ngamma = 0.5\n[optimizer.transport]\nfinal_scale = 0.1\n",
                        "weak.toml"};
  const RunConfig config =
      parse_config(std::span(&weak, 1), {"solver.form=strong", "optimizer.transport.schedule=constant"});
  CHECK_FALSE(value_of(config, "solver.gamma").has_value());
  CHECK_FALSE(value_of(config, "optimizer.transport.final_scale").has_value());
  const ConfigText layers[] = {{"", "strong.toml"}, {"[solver]\ngamma = 0.5\n", "weak_keys.toml"}};
  CHECK_THROWS_WITH(parse_config(layers), Catch::StartsWith("weak_keys.toml:2: solver.gamma"));
}

TEST_CASE("config: the old form, which gives every key, is read without those that have no effect",
          "[config]") {
  const std::string old =
      "[solver]\nform = \"strong\"\ngamma = 0.66\nnoise_samples = 8\nnoise_channels = 0\nsteps = 7\n"
      "[transport]\nmodel = \"mlp\"\nbase = 8\nhidden = [4]\n[potential]\nmodel = \"mlp\"\nnf = 16\n"
      "hidden = [5]\n[optimizer.transport]\nbetas = [0.5, 0.9]\nalpha = 0.99\nmilestones = []\n";
  const RunConfig config = parse_config(old, "old.toml");
  CHECK(config.solver.steps == 7);
  CHECK(value_of(config, "transport.hidden") == "[4]");
  CHECK_FALSE(value_of(config, "transport.base").has_value());
  CHECK(parse_config(to_toml(config), "new.toml") == config);
  CHECK_THAT(error_of(old + "typo = 1\n"), Catch::Contains("unknown key"));
}

TEST_CASE("config: a difference is told by the key", "[config]") {
  const RunConfig a = parse_config("[transport]\nbase = 4\n", "a.toml");
  const RunConfig b = parse_config("[transport]\nbase = 6\n[log]\nevery = 3\n", "b.toml");
  CHECK(first_difference(a, b) == std::array<std::string, 2>{"base = 4", "base = 6"});
  CHECK(first_difference(a, b, [](const std::string& key) { return key.starts_with("log."); }) ==
        std::array<std::string, 2>{"every = 5", "every = 3"});
  CHECK_FALSE(first_difference(a, a).has_value());
  const RunConfig weak = parse_config("[solver]\nform = \"weak\"\n", "weak.toml");
  const auto only = [](const std::string& key) { return key == "solver.gamma"; };
  CHECK(first_difference(weak, a, only) == std::array<std::string, 2>{"gamma = 0.66", "no gamma"});
  CHECK(describes_network(a, "transport.base"));
  CHECK_FALSE(describes_network(a, "transport.init"));
  CHECK_FALSE(describes_network(a, "optimizer.transport.kind"));
}

TEST_CASE("config: every file of configs/ reads", "[config]") {
  const auto folder = std::filesystem::path(VOXOT_GOLDENS).parent_path().parent_path() / "configs";
  for (const char* name : {"demo.toml", "published_strong.toml", "published_weak.toml"}) {
    INFO(name);
    const RunConfig config = load_config(folder / name);
    CHECK(parse_config(to_toml(config), name) == config);
    CHECK(config.source.classes == std::vector<int>{3});
    CHECK(config.target.classes == std::vector<int>{5});
  }
  for (const char* name : {"gaussian_d2.toml", "gaussian_d16.toml", "gaussian_d64.toml",
                           "gaussian_field.toml", "w2bench_d2.toml", "w2bench_d4.toml", "w2bench_d8.toml"}) {
    INFO(name);
    const RunConfig config = load_config(folder / "truth" / name);
    CHECK(parse_config(to_toml(config), name) == config);
    CHECK(config.source.role == "source");
    CHECK(config.target.role == "target");
    CHECK(config.source.path == config.target.path);
  }
  int experiments = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "published")) {
    const std::filesystem::path file = entry.path();
    if (file.extension() != ".toml" || file.stem().string().starts_with("published_") || file.stem() == "gpu")
      continue;
    ++experiments;
    const bool weak = value_of(load_config(file), "solver.form") == "\"weak\"";
    const std::filesystem::path layers[] = {
        file, folder / "published" / (weak ? "published_weak.toml" : "published_strong.toml"),
        folder / "published/gpu.toml"};
    INFO(file);
    CHECK(value_of(load_config(file), "transport.residual") == "true");
    CHECK(load_config(file).source.classes.size() == 1);
    const RunConfig published = load_config(layers);
    CHECK(value_of(published, "transport.residual") == "false");
    CHECK(value_of(published, "solver.inner_steps") == "10");
    CHECK(published.solver.steps == 10000);
    CHECK(value_of(published, "transport.base") == "32");
    CHECK(published.target.dataset == load_config(file).target.dataset);
  }
  CHECK(experiments > 10);
  CHECK(value_of(load_config(folder / "demo.toml"), "transport.residual") == "true");
  CHECK(value_of(load_config(folder / "published_strong.toml"), "transport.base") == "32");
  CHECK(value_of(load_config(folder / "published_weak.toml"), "solver.gamma_steps") == "25000");
}
