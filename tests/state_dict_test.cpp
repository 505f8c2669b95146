// State dicts: names and axis order of PyTorch, round trips, and what is refused.
#include "engine/safetensors.h"
#include "models/classifier.h"
#include "models/mlp.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"
#include "tests/golden.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

using State = std::map<std::string, HostArray>;

bool alike(const State& a, const State& b) {
  return a.size() == b.size() && std::all_of(a.begin(), a.end(), [&](const auto& entry) {
           const auto found = b.find(entry.first);
           return found != b.end() && same(entry.second, found->second);
         });
}

void initialise(Module& module, std::uint64_t seed) {
  Initialiser initialiser(Initialisation::pytorch_default, seed, 0);
  module.initialise(initialiser);
}

template <class Make>
void check_round_trip(Make make) {
  const auto from = make();
  initialise(*from, 1);
  const State state = state_dict(*from);
  const auto to = make();
  initialise(*to, 2);
  CHECK_FALSE(alike(state_dict(*to), state));
  load_state_dict(*to, state, "state");
  CHECK(alike(state_dict(*to), state));
  // Through a file, and into parameters that lie in one flat buffer.
  const TempDirectory folder;
  write_safetensors(folder / "weights.safetensors", {state, {}});
  const auto flat = make();
  Parameters parameters(*flat);
  load_state_dict(*flat, read_safetensors(folder / "weights.safetensors").tensors, "file");
  CHECK(alike(state_dict(*flat), state));
}

UNet3DOptions small_unet() {
  UNet3DOptions options;
  options.base = 2;
  return options;
}

}  // namespace

TEST_CASE("state dict: round trips", "[state_dict]") {
  check_round_trip([] { return std::make_unique<UNet3D>(small_unet()); });
  check_round_trip([] {
    UNet3DOptions options = small_unet();
    options.upsampling = UpsamplingKind::transposed;
    options.norm = NormKind::group;
    options.noise_channels = 2;
    return std::make_unique<UNet3D>(options);
  });
  check_round_trip([] {
    ResNet3DOptions options;
    options.nf = 4;
    options.extent = {8, 16, 16};
    return std::make_unique<ResNet3D>(options);
  });
  check_round_trip([] { return std::make_unique<MlpMap>(MlpOptions{}); });
  check_round_trip([] { return std::make_unique<VoxelClassifier>(VoxelClassifierOptions{}); });
}

TEST_CASE("state dict: names and shapes are PyTorch's", "[state_dict]") {
  // The published networks' state dicts, as PyTorch wrote them.
  const std::pair<const char*, std::unique_ptr<Module>> networks[] = {
      [] {
        UNet3DOptions options;
        options.base = 4;
        return std::pair<const char*, std::unique_ptr<Module>>("unet3d", std::make_unique<UNet3D>(options));
      }(),
      [] {
        ResNet3DOptions options;
        options.nf = 8;
        options.nf_max = 16;
        return std::pair<const char*, std::unique_ptr<Module>>("resnet3d",
                                                               std::make_unique<ResNet3D>(options));
      }(),
  };
  for (const auto& [name, network] : networks) {
    const State expected = Golden(name).below("weight.");
    const State state = state_dict(*network);
    CHECK(state.size() == expected.size());
    for (const auto& [key, array] : expected) {
      INFO(key);
      REQUIRE(state.contains(key));
      CHECK(state.at(key).shape == array.shape);
      CHECK(state.at(key).type == array.type);
    }
    load_state_dict(*network, expected, name);
    CHECK(alike(state_dict(*network), expected));
  }
}

TEST_CASE("state dict: what does not fit is refused by name, and nothing changes", "[state_dict]") {
  UNet3D network(small_unet());
  initialise(network, 1);
  const State before = state_dict(network);
  UNet3D other(small_unet());
  initialise(other, 2);
  const State valid = state_dict(other);
  const std::string name = "up3.conv.double_conv.0.weight";
  const std::string counter = "inc.double_conv.1.num_batches_tracked";
  struct Case {
    std::function<void(State&)> damage;
    std::vector<std::string> message;
  };
  const Case cases[] = {
      {[&](State& s) { s.erase(name); }, {"weights.safetensors: ", name}},
      {[&](State& s) { s.erase(counter); }, {counter}},
      {[&](State& s) { s["outc.conv.extra"] = s.at(name); }, {"unexpected tensor outc.conv.extra"}},
      {[&](State& s) {
         s[name] = HostArray::from_floats({2, 6, 3, 3, 3}, std::vector<float>(324));
       },
       {name, "[2, 6, 3, 3, 3]", "[4, 8, 3, 3, 3]"}},
      {[&](State& s) {
         s[name] = HostArray::from_floats({4, 3, 3, 3, 8}, std::vector<float>(864));
       },
       {name}},
      {[&](State& s) { s[counter] = HostArray::from_int64({1}, {3}); }, {counter, "[1]"}},
      {[&](State& s) { s[counter] = HostArray::from_floats({}, {3}); }, {counter, "i64"}},
      {[&](State& s) { s["up4.conv.double_conv.4.weight"].bytes.pop_back(); }, {"bytes"}},
      {[&](State& s) { s.clear(); }, {"weights.safetensors: "}},
  };
  for (const Case& c : cases) {
    State damaged = valid;
    c.damage(damaged);
    const std::string message = error_of([&] { load_state_dict(network, damaged, "weights.safetensors"); });
    INFO(message);
    CHECK_FALSE(message.empty());
    for (const std::string& part : c.message) CHECK_THAT(message, Catch::Contains(part));
    CHECK(alike(state_dict(network), before));
  }
  load_state_dict(network, valid, "weights.safetensors");
  CHECK(alike(state_dict(network), valid));
}

TEST_CASE("state dict: half precision files load, counters stay whole", "[state_dict]") {
  UNet3D network(small_unet());
  initialise(network, 1);
  State state = state_dict(network);
  const std::string bias = "outc.conv.bias";
  state[bias] = {
      FileType::bf16,
      {3},
      {std::byte{0x80}, std::byte{0x3F}, std::byte{0x00}, std::byte{0xC0}, std::byte{0}, std::byte{0}}};
  const std::int64_t many = (std::int64_t{1} << 24) + 1;  // no fp32 holds this
  const std::string counter = "inc.double_conv.1.num_batches_tracked";
  state[counter] = HostArray::from_int64({}, {many});
  load_state_dict(network, state, "file");
  CHECK(doubles(state_dict(network).at(bias)) == std::vector<double>{1, -2, 0});
  CHECK(same(state_dict(network).at(counter), state.at(counter)));
}
