// The command and files that hold what no run should go on from: NaN, infinity, damaged bytes.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/safetensors.h"
#include "tests/command.h"

namespace {

using namespace voxot;
using namespace voxot::test;

/// Three steps of the tiny run, with an average and noise.
std::vector<std::string> short_run(const std::string& more = "") {
  std::vector<std::string> all = train(more);
  for (const char* setting : {"solver.steps=3", "solver.form=weak", "solver.ema=0.9",
                              "solver.noise_channels=1", "solver.noise_std=1e-7"})
    all.insert(all.end(), {"--set", setting});
  return all;
}

void write_bytes(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

/// The same file as a program without checksums would have written it.
std::string without_checksum(std::string bytes) {
  const std::size_t begin = bytes.find(",\"voxot_checksum\":\"");
  const std::size_t end = bytes.find('"', begin + 19) + 1;
  REQUIRE(end - begin == 44);
  const std::size_t header = static_cast<unsigned char>(bytes[0]) +
                             256U * static_cast<unsigned char>(bytes[1]) +
                             65536U * static_cast<unsigned char>(bytes[2]);
  bytes.insert(8 + header, std::string(end - begin, ' '));
  return bytes.erase(begin, end - begin);
}

}  // namespace

TEST_CASE("command: NaN or infinity in a checkpoint is refused by name", "[command][finite]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  REQUIRE(Command(folder, short_run()).wait() == 0);
  const fs::path file = folder / "run/checkpoints/step-0000003.safetensors";
  const std::string whole = text_of(file);
  const SafetensorsFile good = read_safetensors(file);
  CHECK(good.checked);
  const std::pair<const char*, const char*> places[] = {
      {"transport.inc.double_conv.0.weight", "transport: inc.double_conv.0.weight"},
      {"transport.inc.double_conv.1.running_var", "transport: inc.double_conv.1.running_var"},
      {"potential.conv_img.weight", "potential: conv_img.weight"},
      {"solver.transport.exp_avg_sq.inc.double_conv.0.weight",
       "solver.transport.exp_avg_sq.inc.double_conv.0.weight"},
      {"solver.potential.exp_avg.conv_img.bias", "solver.potential.exp_avg.conv_img.bias"},
      {"solver.average.module.inc.double_conv.1.running_mean",
       "solver.average.module.inc.double_conv.1.running_mean"}};
  float bad = NAN;
  for (const auto& [name, said] : places) {
    SafetensorsFile damaged = good;
    std::vector<float> values = damaged.tensors.at(name).to_floats();
    values[0] = bad;
    damaged.tensors[name] = HostArray::from_floats(damaged.tensors.at(name).shape, values);
    write_safetensors(file, damaged);
    check_fails(
        folder, short_run("--resume"), 1,
        fmt::format("step-0000003.safetensors: {}: 1 of {} values are NaN or infinite", said, values.size()));
    bad = std::isnan(bad) ? INFINITY : NAN;
  }
  check_fails(folder, {"evaluate", "run"}, 1, "solver.average.module.inc.double_conv.1.running_mean: 1 of");
  write_bytes(file, whole);
  const Command resumed(folder, short_run("--resume"));
  CHECK(resumed.wait() == 0);
  CHECK(resumed.err().find("note:") == std::string::npos);
  CHECK(text_of(file) == whole);
  // Numbers beside the exported weights have all their digits.
  const SafetensorsFile exported = read_safetensors(folder / "run/transport.safetensors");
  CHECK(metadata_number(exported.metadata, "noise_std", "transport", 0.0, 1.0) == 1e-7);
}

TEST_CASE("command: a flipped bit in a checkpoint is refused, a file without a checksum noted once",
          "[command][finite]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  REQUIRE(Command(folder, short_run()).wait() == 0);
  const fs::path file = folder / "run/checkpoints/step-0000003.safetensors";
  const std::string whole = text_of(file);
  for (std::size_t k = 1; k <= 1000; ++k) {
    std::string damaged = whole;
    const std::size_t at = whole.size() * k / 1001;
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << k % 8));
    CHECK_THROWS_AS(parse_safetensors(as_bytes(damaged), "x"), Error);
    if (k % 400 != 0) continue;
    write_bytes(file, damaged);
    check_fails(folder, short_run("--resume"), 1, "step-0000003.safetensors: ");
  }
  write_bytes(file, without_checksum(whole));
  const Command old(folder, short_run("--resume"));
  CHECK(old.wait() == 0);
  const std::string said = old.err();
  const std::size_t note = said.find("voxot: note: ");
  CHECK_THAT(said, Catch::Contains("step-0000003.safetensors has no checksum"));
  CHECK(said.find("voxot: note: ", note + 1) == std::string::npos);
}

TEST_CASE("command: a state that overflows is not saved, and the last good checkpoint stays",
          "[command][finite]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  // At this rate the first outer iteration makes gradients whose squares are beyond fp32.
  std::vector<std::string> arguments = train();
  for (const char* setting : {"optimizer.potential.learning_rate=3", "optimizer.transport.learning_rate=3",
                              "solver.steps=4", "log.samples_every=0", "log.checkpoint_every=1"})
    arguments.insert(arguments.end(), {"--set", setting});
  const Command command(folder, arguments);
  CHECK(command.wait() == 1);
  const std::string said = command.err();
  INFO(said);
  CHECK_THAT(said, Catch::Contains("voxot: error: not saved: solver.potential.exp_avg_sq.conv_img.weight: "));
  std::vector<fs::path> kept;
  for (const auto& entry : fs::directory_iterator(folder / "run/checkpoints")) kept.push_back(entry.path());
  REQUIRE_FALSE(kept.empty());
  for (const fs::path& file : kept) {
    for (const auto& [name, array] : read_safetensors(file).tensors) {
      const std::vector<float> values = array.to_floats();
      INFO(file << " " << name);
      CHECK(std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }));
    }
  }
}
