// `voxot map`: files of weights as they are found, and inputs as users have them.
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/atomic_file.h"
#include "engine/npy.h"
#include "engine/safetensors.h"
#include "kernels/sizes.h"
#include "models/unet3d.h"
#include "tests/command.h"
#include "tests/golden.h"

using namespace voxot;
using namespace voxot::test;

namespace {

std::vector<std::string> map_of(const std::string& model, const std::string& input,
                                std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"map", model, "--input", input, "--output", "y.npy", "--device", "cpu"});
  return more;
}

std::vector<float> mapped(const fs::path& folder, const std::vector<std::string>& arguments) {
  const Command command(folder, arguments);
  const int status = command.wait();
  INFO(command.err());
  REQUIRE(status == 0);
  return read_npy(folder / "y.npy").to_floats();
}

/// The golden's weights with batch normalisation, and its input x.npy.
SafetensorsFile published(const fs::path& folder) {
  const Golden golden("unet3d");
  write_npy(folder / "x.npy", golden.array("cubic.input"));
  return {golden.below("weight."), {}};
}

template <class Rename>
SafetensorsFile renamed(const SafetensorsFile& file, const Rename& rename) {
  SafetensorsFile other;
  other.metadata = file.metadata;
  for (const auto& [name, array] : file.tensors) {
    if (const std::string to = rename(name); !to.empty()) other.tensors[to] = array;
  }
  return other;
}

}  // namespace

TEST_CASE("command: map asks for what no tensor shows", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  SafetensorsFile weights = published(folder);
  write_safetensors(folder / "w.safetensors", weights);
  check_fails(folder, map_of("w.safetensors", "x.npy"), 2, "w.safetensors: no tensor shows");
  check_fails(folder, map_of("w.safetensors", "x.npy"), 2, "--residual yes|no");
  CHECK_FALSE(fs::exists(folder / "y.npy"));
  const std::vector<float> x = read_npy(folder / "x.npy").to_floats();
  const std::vector<float> u = mapped(folder, map_of("w.safetensors", "x.npy", {"--residual", "no"}));
  const std::vector<float> sum = mapped(folder, map_of("w.safetensors", "x.npy", {"--residual", "yes"}));
  for (std::size_t i = 0; i < x.size(); ++i) REQUIRE(sum[i] == x[i] + u[i]);
  for (const bool residual : {false, true}) {
    weights.metadata = {{"residual", residual ? "true" : "false"}};
    write_safetensors(folder / "said.safetensors", weights);
    CHECK(mapped(folder, map_of("said.safetensors", "x.npy")) == (residual ? sum : u));
  }
  weights.metadata = {{"residual", "perhaps"}};
  write_safetensors(folder / "said.safetensors", weights);
  check_fails(folder, map_of("said.safetensors", "x.npy"), 1, "expected false or true, got \"perhaps\"");

  // Group and instance normalisation have the same tensors; noise has a deviation and cells.
  UNet3DOptions o;
  o.channels = 1;
  o.noise_channels = 1;
  o.base = 16;  // two channels to a group
  o.norm = NormKind::group;
  UNet3D network(o);
  Initialiser initialiser(Initialisation::kaiming, 3, 0);
  network.initialise(initialiser);
  SafetensorsFile noisy{state_dict(network), {}};
  write_safetensors(folder / "g.safetensors", noisy);
  write_npy(folder / "g.npy", HostArray::from_floats({1, 1, 8, 8, 8}, std::vector<float>(512, 0.5F)));
  for (const char* option :
       {"--residual yes|no", "--normalisation group|instance", "--noise-std", "--noise-cells"})
    check_fails(folder, map_of("g.safetensors", "g.npy"), 2, option);
  std::vector<std::string> told{"--residual",    "yes", "--noise-std",     "0.1",
                                "--noise-cells", "0",   "--normalisation", "group"};
  const std::vector<float> grouped = mapped(folder, map_of("g.safetensors", "g.npy", told));
  noisy.metadata = {
      {"residual", "true"}, {"normalisation", "group"}, {"noise_std", "0.1"}, {"noise_cells", "0"}};
  write_safetensors(folder / "said.safetensors", noisy);
  CHECK(mapped(folder, map_of("said.safetensors", "g.npy")) == grouped);
  told.back() = "instance";
  CHECK(mapped(folder, map_of("said.safetensors", "g.npy", told)) != grouped);
}

TEST_CASE("command: map takes weights as PyTorch's users save them", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  SafetensorsFile weights = published(folder);
  weights.metadata = {{"residual", "false"}};
  write_safetensors(folder / "w.safetensors", weights);
  const std::vector<float> expected = mapped(folder, map_of("w.safetensors", "x.npy"));
  for (const std::string prefix : {"module.", "_orig_mod.", "_orig_mod.module."}) {
    INFO(prefix);
    write_safetensors(folder / "p.safetensors",
                      renamed(weights, [&](const std::string& name) { return prefix + name; }));
    CHECK(mapped(folder, map_of("p.safetensors", "x.npy")) == expected);
  }
  const SafetensorsFile uncounted = renamed(weights, [](const std::string& name) {
    return name.ends_with("num_batches_tracked") ? std::string() : name;
  });
  REQUIRE(uncounted.tensors.size() < weights.tensors.size());
  write_safetensors(folder / "p.safetensors", uncounted);
  CHECK(mapped(folder, map_of("p.safetensors", "x.npy")) == expected);
  // Statistics are no counters.
  write_safetensors(folder / "p.safetensors", renamed(weights, [](const std::string& name) {
                      return name.ends_with("inc.double_conv.1.running_var") ? std::string() : name;
                    }));
  check_fails(folder, map_of("p.safetensors", "x.npy"), 1, "has no tensor inc.double_conv.1.running_var");
  const std::map<std::string, std::string> saved{
      {"zip.pt", "PK\x03\x04" + std::string(100, '\0')},
      {"old.pth", from_hex("80028a0a6cfc9c46f9206aa850192e") + "rest"}};
  for (const auto& [name, bytes] : saved) {
    write_file_atomically(folder / name, as_bytes(bytes));
    const std::string stem = name.substr(0, name.find('.'));
    check_fails(folder, map_of(name, "x.npy"), 1,
                "save_file(torch.load(\"" + name + "\", map_location=\"cpu\", weights_only=True), \"" + stem +
                    ".safetensors\")");
  }
}

TEST_CASE("command: map reads arrays as train does", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  SafetensorsFile weights = published(folder);
  weights.metadata = {{"residual", "false"}};
  write_safetensors(folder / "w.safetensors", weights);
  HostArray bytes = read_npy(folder / "x.npy");
  std::vector<float> floats(to_size(bytes.count()));
  bytes.type = FileType::u8;
  bytes.bytes.resize(floats.size());
  for (std::size_t i = 0; i < floats.size(); ++i) {
    const auto value = static_cast<std::uint8_t>(37 * i % 256);
    bytes.bytes[i] = static_cast<std::byte>(value);
    floats[i] = static_cast<float>(value) / 127.5F - 1;
  }
  const HostArray same = HostArray::from_floats(bytes.shape, floats);
  write_npy(folder / "f.npy", same);
  const std::vector<float> expected = mapped(folder, map_of("w.safetensors", "f.npy"));
  write_npy(folder / "u8.npy", bytes);
  const Command scaled(folder, map_of("w.safetensors", "u8.npy"));
  REQUIRE(scaled.wait() == 0);
  CHECK(scaled.err() == "voxot: u8.npy: 0 to 255 read as -1 to 1; the output has the network's scale too\n");
  CHECK(read_npy(folder / "y.npy").to_floats() == expected);
  write_npz(folder / "many.npz", {{"a", same}, {"b", bytes}, {"labels", HostArray::from_int64({1}, {1})}});
  check_fails(folder, map_of("w.safetensors", "many.npz"), 1, "--key says which. It holds a f32");
  CHECK(mapped(folder, map_of("w.safetensors", "many.npz", {"--key", "a"})) == expected);
  write_npz(folder / "one.npz", {{"volumes", same}});
  CHECK(mapped(folder, map_of("w.safetensors", "one.npz")) == expected);

  fs::remove(folder / "y.npy");
  floats[1] = std::nanf("");
  write_npy(folder / "nan.npy", HostArray::from_floats(same.shape, floats));
  check_fails(folder, map_of("w.safetensors", "nan.npy"), 1, "nan.npy: sample 0, place [0, 0, 0, 1] is nan");
  check_fails(folder, {"render", "nan.npy", "--output", "y.png"}, 1,
              "nan.npy: sample 0, place [0, 0, 0, 1] is");
  check_fails(folder, {"pair", "--source", "nan.npy", "--target", "f.npy", "--output", "p.npz"}, 1,
              "nan.npy: sample 0, place [0, 0, 0, 1] is nan");
  bytes.type = FileType::i8;
  write_npy(folder / "i8.npy", bytes);
  check_fails(folder, map_of("w.safetensors", "i8.npy"), 1,
              "i8.npy: expected floats, u8 or booleans, got i8");
  check_fails(folder, {"render", "i8.npy", "--output", "y.png"}, 1, "got i8");
  check_fails(folder, {"pair", "--source", "i8.npy", "--target", "f.npy", "--output", "p.npz"}, 1, "got i8");
  write_npy(folder / "nochan.npy", HostArray::from_floats({4, 8, 8, 8}, std::vector<float>(2048)));
  check_fails(folder, map_of("w.safetensors", "nochan.npy"), 1, "x[:, None] for volumes of 8×8×8");
  check_fails(folder, {"render", "nochan.npy", "--output", "y.png"}, 1, "f32 [4, 8, 8, 8]");
  // Where it cannot write it does not begin: the weights are not even there.
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"map", "none.safetensors", "--input", "none.npy", "--output", "no/y.npy"},
        {"render", "none.npy", "--output", "no/y.npy"},
        {"data", "make", "digits", "--output", "no/y.npz"}})
    check_fails(folder, command, 1, ": cannot create a file in its folder");
  CHECK_FALSE(fs::exists(folder / "y.npy"));
  CHECK_FALSE(fs::exists(folder / "y.png"));
}

TEST_CASE("command: images from a file are trained on and mapped, bytes and keys alike", "[command]") {
  const TempDirectory directory;
  const fs::path folder = tiny_folder(directory, "work");
  HostArray images{FileType::u8, {40, 3, 8, 8}, std::vector<std::byte>(7680)};
  for (std::size_t i = 0; i < images.bytes.size(); ++i)
    images.bytes[i] = static_cast<std::byte>(29 * i % 251);
  write_npz(folder / "i.npz", {{"faces", images}, {"masks", images}});
  write_npy(folder / "x.npy", images);
  std::ofstream(folder / "tiny.toml", std::ios::trunc)
      << "[solver]\nsteps = 2\ninner_steps = 1\nbatch_size = 4\nema = 0\n"
      << "[transport]\nbase = 2\n[potential]\nnf = 2\n"
      << "[source]\ndataset = \"npy\"\npath = \"i.npz\"\nkey = \"faces\"\n"
      << "[target]\ndataset = \"npy\"\npath = \"x.npy\"\n[log]\nsamples_every = 0\nvalidate_every = 0\n";
  REQUIRE(Command(folder, train()).wait() == 0);
  check_fails(folder, {"train", "tiny.toml", "--out", "other", "--set", "source.key="}, 1,
              "i.npz: expected an array named data or x, or only one besides labels; key says which");
  mapped(folder, map_of("run", "i.npz", {"--key", "masks"}));
  CHECK(read_npy(folder / "y.npy").shape == images.shape);
  for (const float v : read_npy(folder / "y.npy").to_floats()) REQUIRE(std::abs(v) < 20);
  check_fails(folder, map_of("run", "x.npy", {"--residual", "yes"}), 2, "--residual");
  check_fails(folder,
              {"train", "tiny.toml", "--out", "other", "--set", "source.dataset=\"digits\"", "--set",
               "source.key=faces"},
              2, "source.key: has no effect here; it goes with source.dataset = npy");
}
