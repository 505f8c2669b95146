// Samples drawn in a device's memory: the same as the host's, whatever is turned, coloured and extruded.
#include "kernels/volumes.h"

#include <cstring>

#include "datasets/device_samples.h"
#include "datasets/voxel_dataset.h"
#include "engine/npy.h"
#include "kernels/sizes.h"
#include "tests/dataset_helpers.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

/// Densities from a little below 0 to a little above 1, so that both ends are clamped.
Tensor densities(const Shape& shape, std::uint64_t seed) {
  const Tensor t = Tensor::empty(shape);
  Random random(seed, Purpose::test);
  for (std::int64_t i = 0; i < t.count(); ++i) t.as<float>()[i] = random.uniform(-0.2F, 1.2F);
  return t;
}

VolumeParams params_of(std::array<int, 3> extent, std::array<int, 2> extrude, Turn turn, Hues hues) {
  VolumeParams p;
  p.extent = extent;
  p.extrude = extrude;
  p.turn = turn;
  p.degrees = 150;
  p.hues = hues;
  p.palette_size = 4;
  p.palette = {0, 120, 240, 60};
  return p;
}

/// A channel of a voxel in double, by the definition: eight neighbours, each with the product of its three
/// distances.
double defined_value(const VolumeParams& p, const float* image, const VolumeSample& s,
                     const std::array<int, 3>& voxel, int channel) {
  std::array<double, 3> from{};
  for (std::size_t a = 0; a < 3; ++a) {
    from[a] = 0.5 * (p.extent[a] - 1);
    for (std::size_t b = 0; b < 3; ++b) {
      from[a] += double{s.rotation[b * 3 + a]} * (voxel[b] - 0.5 * (p.extent[b] - 1));
    }
  }
  double density = 0;
  for (int d = p.extrude[0]; d < p.extrude[1]; ++d) {
    for (int h = 0; h < p.extent[1]; ++h) {
      for (int w = 0; w < p.extent[2]; ++w) {
        const double weight = std::max(0.0, 1 - std::abs(from[0] - d)) *
                              std::max(0.0, 1 - std::abs(from[1] - h)) *
                              std::max(0.0, 1 - std::abs(from[2] - w));
        density += weight * image[h * p.extent[2] + w];
      }
    }
  }
  return 2 * std::clamp(density, 0.0, 1.0) * s.rgb[to_size(channel)] - 1;
}

/// The same of an image that turns at its own resolution: the mean over places inside the voxel, each of
/// which looks up the image bilinearly and the depth by how much of the place lies within it.
double defined_fine_value(const VolumeParams& p, const float* image, const VolumeSample& s,
                          const std::array<int, 3>& voxel, int channel) {
  const double pixels = static_cast<double>(p.fine) / p.extent[1];
  const int along = static_cast<int>(std::ceil(pixels));
  const std::array<int, 3> places{p.extent[0] == 1 ? 1 : along, along, along};
  double sum = 0;
  for (int i = 0; i < places[0] * places[1] * places[2]; ++i) {
    const std::array<int, 3> place{i / (places[1] * places[2]), i / places[2] % places[1], i % places[2]};
    std::array<double, 3> from{};
    for (std::size_t a = 0; a < 3; ++a) {
      for (std::size_t b = 0; b < 3; ++b) {
        const double at = voxel[b] + (place[b] + 0.5) / places[b] - 0.5 * p.extent[b];
        from[a] += double{s.rotation[b * 3 + a]} * at * pixels;
      }
    }
    const double depth = from[0] / pixels + 0.5 * p.extent[0];
    const double share =
        std::clamp(std::min(depth - p.extrude[0], p.extrude[1] - depth) * places[0] + 0.5, 0.0, 1.0);
    double value = 0;
    for (int h = 0; h < p.fine; ++h) {
      for (int w = 0; w < p.fine; ++w) {
        value += image[h * p.fine + w] * std::max(0.0, 1 - std::abs(from[1] + 0.5 * (p.fine - 1) - h)) *
                 std::max(0.0, 1 - std::abs(from[2] + 0.5 * (p.fine - 1) - w));
      }
    }
    sum += share * value;
  }
  const double density = sum / (places[0] * places[1] * places[2]);
  return 2 * std::clamp(density, 0.0, 1.0) * s.rgb[to_size(channel)] - 1;
}

/// What a device makes, between guards.
struct Made {
  std::vector<VolumeSample> samples;
  std::vector<float> values;
};

Made make(const VolumeParams& p, const Tensor& images, std::int64_t n, const RandomState& state,
          Device device) {
  const Tensor there = images.to(device);
  const std::int64_t count = n * p.voxels() * p.channels();
  const Guarded out({count}, {}, DType::f32, kSentinel, device);
  const auto chosen = DeviceSamples(p, there).choose({state, n});
  kernels::paint_volumes(out.stream(), p, there.as<float>(), n, chosen.data(), out.as<float>());
  return {chosen.to_host(), out.to_floats()};
}

/// Sine and cosine of two libraries may differ in the last bit of fp32, which moves a position by as much,
/// and a value by the slope of the density: at most 1.4 a voxel on each of three axes, doubled.
constexpr double kTurned = 2e-5;

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(double{a[i]} - b[i]));
  return worst;
}

void check_same_choice(const VolumeSample& a, const VolumeSample& b) {
  REQUIRE(a.item == b.item);
  REQUIRE(a.colour == b.colour);
  REQUIRE(a.hue == b.hue);
  REQUIRE(a.rgb == b.rgb);
  for (std::size_t k = 0; k < 9; ++k) {
    REQUIRE(a.rotation[k] == Approx(b.rotation[k]).margin(3e-7));
  }
}

/// A few images that no two share, in place of MNIST's files.
class FewImages final : public ImageSource {
 public:
  explicit FewImages(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) items_.push_back({10 * i + 3, static_cast<int>(i % 10)});
  }
  [[nodiscard]] std::int64_t size() const override { return std::ssize(items_); }
  [[nodiscard]] std::span<const Item> items() const override { return items_; }
  void render(std::int64_t index, float* image) const override {
    Random random(static_cast<std::uint64_t>(index), Purpose::test);
    for (int i = 0; i < kImageSize * kImageSize; ++i) image[i] = random.uniform();
  }

 private:
  std::vector<Item> items_;
};

}  // namespace

TEST_CASE("volumes: every turn and colour as it is defined, on every device", "[volumes][device]") {
  const Turn turn = GENERATE(Turn::none, Turn::in_plane, Turn::turntable, Turn::free);
  const Hues hues = GENERATE(Hues::none, Hues::palette, Hues::uniform);
  const VolumeParams p = params_of({5, 7, 6}, {1, 4}, turn, hues);
  const Tensor images = densities({4, 7, 6}, 1);
  const RandomState state{11, Purpose::source_samples, 9};
  const std::int64_t n = 5;
  for (const Device device : devices()) {
    CAPTURE(name_of(device), static_cast<int>(turn), static_cast<int>(hues));
    const Made made = make(p, images, n, state, device);
    double worst = 0;
    for (std::int64_t e = 0; e < n * p.voxels() * p.channels(); ++e) {
      const std::int64_t v = e / p.channels();
      const VolumeSample& s = made.samples[to_size(v / p.voxels())];
      const double expected =
          defined_value(p, images.as<float>() + s.item * p.area(), s,
                        {static_cast<int>(v / 42 % 5), static_cast<int>(v / 6 % 7), static_cast<int>(v % 6)},
                        static_cast<int>(e % p.channels()));
      worst = std::max(worst, std::abs(expected - made.values[to_size(e)]));
    }
    CHECK(worst < kTurned);
  }
}

TEST_CASE("volumes: fine images turn before they are voxelised, as it is defined, on every device",
          "[volumes][device]") {
  struct Case {
    std::array<int, 3> extent;
    std::array<int, 2> extrude;
    Turn turn;
    int fine;
  };
  // Places of one, two and three a voxel, flat and not, images as fine as the volume and coarser.
  const Case c =
      GENERATE(Case{{6, 6, 6}, {2, 4}, Turn::free, 11}, Case{{5, 7, 7}, {0, 5}, Turn::turntable, 7},
               Case{{1, 6, 6}, {0, 1}, Turn::in_plane, 17}, Case{{7, 7, 7}, {1, 3}, Turn::free, 4});
  VolumeParams p = params_of(c.extent, c.extrude, c.turn, Hues::palette);
  p.fine = c.fine;
  const Tensor images = densities({4, c.fine, c.fine}, 1);
  const RandomState state{11, Purpose::source_samples, 9};
  const std::int64_t n = 5;
  for (const Device device : devices()) {
    CAPTURE(name_of(device), c.fine, c.extent[1]);
    const Made made = make(p, images, n, state, device);
    double worst = 0;
    for (std::int64_t e = 0; e < n * p.voxels() * 3; ++e) {
      const std::int64_t v = e / 3;
      const VolumeSample& s = made.samples[to_size(v / p.voxels())];
      const std::array<int, 3> voxel{static_cast<int>(v / p.area() % p.extent[0]),
                                     static_cast<int>(v / p.extent[2] % p.extent[1]),
                                     static_cast<int>(v % p.extent[2])};
      const double expected = defined_fine_value(p, images.as<float>() + s.item * p.image_area(), s, voxel,
                                                 static_cast<int>(e % 3));
      worst = std::max(worst, std::abs(expected - made.values[to_size(e)]));
    }
    CHECK(worst < kTurned);
  }
}

TEST_CASE("strokes one pixel thin keep their contrast where the image turns before it is voxelised",
          "[volumes]") {
  // A cross of one pixel's width in 28×28; both ways know the same angles.
  Tensor image = Tensor::full({1, kImageSize, kImageSize}, 0, DType::f32, Device::cpu);
  for (int i = 6; i < 22; ++i) {
    image.as<float>()[14 * kImageSize + i] = 1;
    image.as<float>()[i * kImageSize + 13] = 1;
  }
  Tensor resized = Tensor::empty({1, 16, 16});
  ImageResizer(kImageSize, 16).resize(image.as<float>(), resized.as<float>());
  VolumeParams p = params_of({16, 16, 16}, {5, 11}, Turn::free, Hues::none);
  p.degrees = 40;
  const RandomState state{3, Purpose::source_samples, 1};
  const std::int64_t n = 16;
  struct Seen {
    double mass = 0;
    double energy = 0;
    double largest = 0;
  };
  const auto see = [&](const Tensor& images) {
    const Made made = make(p, images, n, state, Device::cpu);
    Seen seen;
    for (const float value : made.values) {
      const double density = 0.5 * (value + 1.0);
      seen.mass += density / n;
      seen.energy += density * density / n;
      seen.largest = std::max(seen.largest, density);
    }
    return seen;
  };
  const Seen after = see(resized);
  p.fine = kImageSize;
  const Seen before = see(image);
  // 31 pixels of 28² on 16² voxels, six slices deep: turning moves mass, it makes and takes none. The resize
  // weighs a pixel by where it lies between voxels.
  const double mass = 31.0 * 256 / 784 * 6;
  CAPTURE(after.mass, before.mass, after.energy, before.energy, after.largest, before.largest);
  CHECK(before.mass == Approx(mass).epsilon(0.01));
  CHECK(after.mass == Approx(mass).epsilon(0.03));
  CHECK(before.energy > 1.25 * after.energy);
  CHECK(before.largest > 1.2 * after.largest);
}

TEST_CASE("volumes: a sample reads item, hue and angles in this order", "[volumes][device]") {
  for (const Device device : devices()) {
    for (const std::uint64_t step : {std::uint64_t{3}, std::uint64_t{1} << 33}) {
      CAPTURE(name_of(device), step);
      const VolumeParams p = params_of({8, 8, 8}, {2, 5}, Turn::free, Hues::palette);
      const DeviceSamples data(p, densities({9, 8, 8}, 2).to(device));
      const std::vector<VolumeSample> chosen =
          data.choose({{5, Purpose::target_samples, step}, 300}).to_host();
      for (const std::int64_t i : {0, 1, 255, 256, 299}) {
        Random random(5, Purpose::target_samples, (step << 20) + static_cast<std::uint64_t>(i));
        const VolumeSample& s = chosen[to_size(i)];
        REQUIRE(s.item == static_cast<std::int64_t>(random.below(9)));
        REQUIRE(s.colour == static_cast<int>(random.below(4)));
        REQUIRE(s.hue == p.palette[to_size(s.colour)]);
        Rotation r = rotation_about(0, 150 * (2.0 * random.uniform() - 1));
        r = compose(rotation_about(1, 150 * (2.0 * random.uniform() - 1)), r);
        r = compose(rotation_about(2, 150 * (2.0 * random.uniform() - 1)), r);
        for (std::size_t k = 0; k < 9; ++k) REQUIRE(s.rotation[k] == Approx(r[k]).margin(3e-7));
      }
    }
  }
}

TEST_CASE("volumes: a device as the host at any size", "[volumes][cuda]") {
  if (no_device()) return;
  struct Case {
    std::array<int, 3> extent;
    std::array<int, 2> extrude;
    std::int64_t items, n;
  };
  // Whole vectors and not, one stretch and several, flat, all slices, one slice, one item, one sample.
  const Case c = GENERATE(Case{{16, 16, 16}, {5, 11}, 7, 9}, Case{{13, 13, 13}, {0, 13}, 3, 4},
                          Case{{1, 28, 28}, {0, 1}, 5, 6}, Case{{1, 5, 5}, {0, 1}, 2, 33},
                          Case{{9, 11, 12}, {8, 9}, 1, 2}, Case{{11, 11, 11}, {3, 4}, 6, 1},
                          Case{{1, 1, 1}, {0, 1}, 2, 300});
  const Turn turn = GENERATE(Turn::none, Turn::turntable, Turn::free);
  const Hues hues = GENERATE(Hues::none, Hues::uniform);
  CAPTURE(c.extent[0], c.extent[1], c.n, static_cast<int>(turn), static_cast<int>(hues));
  const bool before = GENERATE(false, true);
  if (before && (turn == Turn::none || c.extent[1] != c.extent[2])) return;
  VolumeParams p = params_of(c.extent, c.extrude, turn, hues);
  if (before) p.fine = 9;
  const Tensor images = densities({c.items, p.image_height(), p.image_width()}, 3);
  const RandomState state{2, Purpose::source_samples, 77};
  const Made host = make(p, images, c.n, state, Device::cpu);
  const Made there = make(p, images, c.n, state, Device::cuda);
  for (std::size_t i = 0; i < host.samples.size(); ++i) check_same_choice(there.samples[i], host.samples[i]);
  CHECK(largest_difference(there.values, host.values) <= (turn == Turn::none ? 0 : kTurned));
}

TEST_CASE("volumes: parameters that do not fit are refused", "[volumes]") {
  const VolumeParams p = params_of({4, 4, 4}, {1, 3}, Turn::none, Hues::none);
  CHECK_NOTHROW(DeviceSamples(p, densities({2, 4, 4}, 1)));
  CHECK_THAT(error_of([&] { DeviceSamples(p, densities({2, 4, 5}, 1)); }), Catch::Contains("items×4×4"));
  CHECK_THAT(error_of([&] { DeviceSamples(densities({2, 4, 5}, 1)); }), Catch::Contains("items×D×H×W×C"));
  VolumeParams fine = p;
  fine.fine = 6;
  CHECK_THAT(error_of([&] { fine.validate(); }), Catch::Contains("expected square volumes that turn"));
  fine.turn = Turn::free;
  CHECK_NOTHROW(DeviceSamples(fine, densities({2, 6, 6}, 1)));
  CHECK_THAT(error_of([&] { DeviceSamples(fine, densities({2, 4, 4}, 1)); }), Catch::Contains("items×6×6"));
  fine.extent = {4, 4, 5};
  CHECK_THAT(error_of([&] { fine.validate(); }), Catch::Contains("expected square volumes that turn"));
  VolumeParams outside = p;
  outside.extrude = {1, 5};
  CHECK_THAT(error_of([&] { outside.validate(); }), Catch::Contains("slices [1, 5) of 4"));
  VolumeParams colourless = p;
  colourless.hues = Hues::palette;
  colourless.palette_size = 0;
  CHECK_THAT(error_of([&] { colourless.validate(); }), Catch::Contains("palette of 0"));
}

TEST_CASE("a data set in a device's memory draws what it draws on the host", "[volumes][datasets][device]") {
  DatasetConfig config;
  config.colour = GENERATE(as<std::string>(), "none", "four", "six", "uniform");
  config.rotation = GENERATE(as<std::string>(), "none", "one_axis", "in_plane", "three_axes");
  const bool flat = GENERATE(false, true);
  if (flat && config.rotation == "three_axes") return;
  config.rotate = GENERATE(as<std::string>(), "after", "before");
  config.order = flat ? "shuffled" : "random";
  config.resolution = 13;
  config.extrude = {4, 9};
  auto images = std::make_unique<FewImages>(6);
  const std::vector<ImageSource::Item> items(images->items().begin(), images->items().end());
  VoxelDataset dataset(config, flat, std::move(images));
  const std::int64_t n = 70;  // more than the host paints at once
  const Drawn host = draw(dataset, n, 8);
  const RandomState state{1, Purpose::source_samples, 8};
  for (const Device device : devices()) {
    CAPTURE(name_of(device), config.colour, config.rotation, config.rotate, flat);
    const auto there = dataset.on_device(device);
    REQUIRE(there);
    const std::vector<VolumeSample> chosen = there->choose({state, n}).to_host();
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      const SampleLabel& label = host.labels[i];
      REQUIRE(items[to_size(chosen[i].item)].index == label.item);
      REQUIRE(chosen[i].hue == label.hue);
      if (config.colour != "uniform") REQUIRE(chosen[i].colour == label.colour);
    }
    const Tensor volumes = there->draw({state, n});
    const auto [d, h, w, c] = dataset.sample_shape();
    CHECK(volumes.shape() == Shape{n, d, h, w, c});
    const double worst = largest_difference(volumes.to_floats(), host.values);
    CHECK(worst <= (device == Device::cpu || config.rotation == "none" ? 0 : kTurned));
  }
}

TEST_CASE("digits without end stay on the host, arrays do not", "[volumes][datasets][device]") {
  CHECK(!open_dataset(digits_config(), Split::train, {})->on_device(Device::cpu));
  const TempDirectory folder;
  std::vector<float> values(60 * 3 * 10);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.1F * static_cast<float>(i);
  write_npy(folder.path() / "a.npy", HostArray::from_floats({60, 3, 5, 1, 2}, values));
  DatasetConfig config;
  config.dataset = "npy";
  config.path = "a.npy";
  const auto arrays = open_dataset(config, Split::train, folder.path());
  const Drawn host = draw(*arrays, 40, 3);
  for (const Device device : devices()) {
    CAPTURE(name_of(device));
    const auto there = arrays->on_device(device);
    REQUIRE(there);
    const Tensor volumes = there->draw({{1, Purpose::source_samples, 3}, 40});
    CHECK(volumes.shape() == Shape{40, 5, 1, 2, 3});
    CHECK((volumes.to_floats() == host.values));
  }
}

TEST_CASE("MNIST does not stay on the host", "[volumes][datasets]") {
  const auto directory = mnist_directory();
  if (directory.empty()) return;
  DatasetConfig config;
  config.dataset = "mnist";
  config.classes = {4};
  const auto mnist = open_dataset(config, Split::validation, directory);
  const auto there = mnist->on_device(Device::cpu);
  REQUIRE(there);
  CHECK((there->draw({{1, Purpose::source_samples, 3}, 20}).to_floats() == draw(*mnist, 20, 3).values));
}

TEST_CASE("volumes: gathered values of any width, at the end of the table too", "[volumes][device]") {
  const std::int64_t width = GENERATE(1, 3, 4, 4096, 5001);
  for (const Device device : devices()) {
    CAPTURE(name_of(device), width);
    const Tensor table = densities({3, 1, 1, width, 1}, 4);
    const DeviceSamples data(table.to(device));
    const RandomState state{6, Purpose::source_samples, 1};
    const std::vector<VolumeSample> chosen = data.choose({state, 9}).to_host();
    const std::vector<float> values = data.draw({state, 9}).to_floats();
    std::array<bool, 3> seen{};
    for (std::int64_t i = 0; i < 9; ++i) {
      const std::int64_t item = chosen[to_size(i)].item;
      REQUIRE((item >= 0 && item < 3));
      seen[to_size(item)] = true;
      REQUIRE(std::equal(table.as<float>() + item * width, table.as<float>() + (item + 1) * width,
                         values.begin() + i * width));
    }
    CHECK(seen[2]);
  }
}
