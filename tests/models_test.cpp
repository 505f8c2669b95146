// Networks: extents, batch 1, sizes, refusals, determinism.
#include <map>

#include "engine/ops/elementwise.h"
#include "engine/ops/reduction.h"
#include "engine/optimizer.h"
#include "models/classifier.h"
#include "models/mlp.h"
#include "models/noise.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"
#include "tests/cuda_device.h"
#include "tests/golden.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

std::int64_t parameter_count(const Module& module) {
  std::int64_t count = 0;
  for (const NamedTensor& entry : module.named_tensors())
    count += entry.parameter ? entry.tensor->count() : 0;
  return count;
}

void initialise(Module& module, std::uint64_t seed) {
  Initialiser initialiser(Initialisation::pytorch_default, seed, 0);
  module.initialise(initialiser);
}

Tensor volumes(const Shape& shape, DType dtype = DType::f32) {
  return Tensor::normal(shape, {3, Purpose::test, 0}, 0, 0.5, dtype);
}

/// Forward, mean of squares, backward; true when output and every gradient are finite and not all zero.
template <class Network, class Forward>
bool trains(Network& network, const Forward& forward) {
  initialise(network, 1);
  Parameters parameters(network);
  Tape tape;
  const Tensor y = forward(tape);
  tape.backward(ops::mean(tape, ops::mul(tape, y, y)));
  const double output = norm(doubles(y));
  const double gradient = norm(doubles(parameters.gradients()));
  for (const NamedTensor& entry : parameters.named()) {
    if (entry.parameter && !entry.tensor->gradient()->ready) return false;
  }
  return std::isfinite(output) && output > 0 && std::isfinite(gradient) && gradient > 0;
}

}  // namespace

TEST_CASE("models: sizes of the published networks", "[models]") {
  // Counted in PyTorch (tests/goldens/reference.py): UNet3D(3, 3, 32) and ResNet3D(16, 3, 64).
  CHECK(parameter_count(UNet3D({})) == 3213027);
  CHECK(parameter_count(ResNet3D({})) == 11795777);
}

TEST_CASE("models: UNet3D at batch 1, at non-cubic extents, with every option", "[models]") {
  for (const NormKind norm : {NormKind::none, NormKind::batch, NormKind::group, NormKind::instance}) {
    for (const UpsamplingKind upsampling : {UpsamplingKind::nearest, UpsamplingKind::transposed}) {
      for (const bool residual : {false, true}) {
        UNet3DOptions options;
        options.base = 2;
        options.norm = norm;
        options.upsampling = upsampling;
        options.residual = residual;
        options.channels = residual ? 1 : 4;
        options.noise_channels = upsampling == UpsamplingKind::nearest ? 2 : 0;
        UNet3D network(options);
        const Tensor x = volumes({1, 8, 24, 16, options.channels});
        const Tensor noise = options.noise_channels > 0 ? volumes({1, 8, 24, 16, 2}) : Tensor{};
        CHECK(trains(network, [&](Tape& tape) {
          const Tensor y = network.forward(tape, x, noise);
          CHECK(y.shape() == x.shape());
          return y;
        }));
      }
    }
  }
}

TEST_CASE("models: flat volumes have kernels and windows of one slice", "[models]") {
  for (const UpsamplingKind upsampling : {UpsamplingKind::nearest, UpsamplingKind::transposed}) {
    UNet3DOptions options;
    options.base = 2;
    options.flat = true;
    options.upsampling = upsampling;
    UNet3D map(options);
    const Tensor x = volumes({2, 1, 16, 8, 3});
    CHECK(trains(map, [&](Tape& tape) {
      const Tensor y = map.forward(tape, x, {});
      CHECK(y.shape() == x.shape());
      return y;
    }));
    int convolutions = 0;
    for (const NamedTensor& t : map.named_tensors()) {
      if (t.tensor == nullptr || t.tensor->shape().rank() != 5) continue;
      ++convolutions;
      CHECK(t.tensor->extent(1) == 1);
    }
    CHECK(convolutions > 10);
    Tape tape;
    CHECK_THROWS_AS(map.forward(tape, volumes({1, 8, 8, 8, 3}), {}), Error);
  }
  ResNet3DOptions options;
  options.nf = 4;
  options.extent = {1, 16, 8};
  ResNet3D f(options);
  CHECK(trains(f, [&](Tape& tape) { return f.forward(tape, volumes({2, 1, 16, 8, 3})); }));
}

TEST_CASE("models: a residual map begins at x + U(x)", "[models]") {
  UNet3DOptions options;
  options.base = 2;
  UNet3D plain(options);
  options.residual = true;
  UNet3D residual(options);
  initialise(plain, 1);
  initialise(residual, 1);
  const Tensor x = volumes({2, 8, 8, 8, 3}, DType::f32);
  Tape tape;
  const Tensor sum = ops::add(tape, x, plain.forward(tape, x, {}));
  CHECK(doubles(residual.forward(tape, x, {})) == doubles(sum));
}

TEST_CASE("models: noise reaches the map", "[models]") {
  UNet3DOptions options;
  options.base = 2;
  options.noise_channels = 1;
  UNet3D network(options);
  initialise(network, 1);
  const Tensor x = volumes({2, 8, 8, 8, 3});
  Tape tape;
  const Tensor quiet = network.forward(tape, x, Tensor::full({2, 8, 8, 8, 1}, 0));
  const Tensor loud = network.forward(tape, x, volumes({2, 8, 8, 8, 1}));
  CHECK(distance(loud, quiet) > 1e-3);
}

TEST_CASE("models: ResNet3D at batch 1 and at non-cubic extents", "[models]") {
  for (const std::array<std::int64_t, 3>& extent :
       {std::array<std::int64_t, 3>{4, 4, 4}, {8, 8, 8}, {4, 8, 12}, {16, 8, 24}}) {
    ResNet3DOptions options;
    options.nf = 4;
    options.extent = extent;
    options.channels = 2;
    ResNet3D network(options);
    CHECK(trains(network, [&](Tape& tape) {
      const Tensor y = network.forward(tape, volumes({1, extent[0], extent[1], extent[2], 2}));
      CHECK(y.shape() == Shape{1, 1});
      return y;
    }));
  }
}

TEST_CASE("models: one sample's answer does not depend on its batch, in evaluation mode", "[models]") {
  UNet3DOptions options;
  options.base = 4;
  UNet3D map(options);
  ResNet3DOptions f_options;
  f_options.nf = 4;
  ResNet3D f(f_options);
  initialise(map, 1);
  initialise(f, 2);
  map.set_training(false);
  const Tensor x = volumes({3, 16, 16, 16, 3});
  const Tensor one = x.window(16 * 16 * 16 * 3, {1, 16, 16, 16, 3});
  Tape tape;
  const Tensor mapped = map.forward(tape, x, {});
  // fp32: another batch size may take another path.
  CHECK(distance(map.forward(tape, one, {}), mapped.window(one.count(), one.shape())) < 1e-5);
  CHECK(f.forward(tape, one).item() == Approx(doubles(f.forward(tape, x))[1]).epsilon(1e-5));
}

TEST_CASE("models: classifier and perceptrons", "[models]") {
  VoxelClassifierOptions options;
  options.volume = {8, 16, 12, 3};
  options.width = 4;
  options.classes = 5;
  VoxelClassifier classifier(options);
  CHECK(trains(classifier, [&](Tape& tape) {
    const auto result = classifier.forward(tape, volumes({3, 8, 16, 12, 3}));
    CHECK(result.features.shape() == Shape{3, 64});
    CHECK(result.logits.shape() == Shape{3, 5});
    return result.logits;
  }));
  MlpOptions mlp;
  mlp.volume = {1, 1, 1, 3};
  mlp.hidden = {16, 8};
  mlp.noise_channels = 2;
  mlp.residual = true;
  mlp.activation = {ActivationKind::silu, 0};
  MlpMap map(mlp);
  CHECK(map.noise_channels() == 2);
  CHECK(parameter_count(map) == 5 * 16 + 16 + 16 * 8 + 8 + 8 * 3 + 3);
  CHECK(trains(map, [&](Tape& tape) {
    return map.forward(tape, volumes({5, 1, 1, 1, 3}), volumes({5, 1, 1, 1, 2}));
  }));
  MlpPotential f(mlp);
  CHECK(trains(f, [&](Tape& tape) { return f.forward(tape, volumes({5, 1, 1, 1, 3})); }));
}

TEST_CASE("models: what does not fit is refused", "[models]") {
  Tape tape;
  UNet3DOptions options;
  options.base = 2;
  UNet3D map(options);
  CHECK_THAT(error_of([&] {
               map.forward(tape, volumes({1, 8, 12, 8, 3}), {});
             }),
             Catch::Contains("1×8×12×8×3"));
  CHECK_THAT(error_of([&] {
               map.forward(tape, volumes({1, 8, 8, 8, 4}), {});
             }),
             Catch::Contains("3 channels"));
  CHECK_THAT(error_of([&] { map.forward(tape, volumes({8, 8}), {}); }), Catch::Contains("UNet3D"));
  CHECK_THAT(error_of([&] {
               map.forward(tape, volumes({1, 8, 8, 8, 3}), volumes({1, 8, 8, 8, 1}));
             }),
             Catch::Contains("noise"));
  options.noise_channels = 1;
  UNet3D noisy(options);
  CHECK_THAT(error_of([&] {
               noisy.forward(tape, volumes({1, 8, 8, 8, 3}), {});
             }),
             Catch::Contains("without noise"));
  CHECK_THAT(error_of([&] {
               noisy.forward(tape, volumes({1, 8, 8, 8, 3}), volumes({1, 8, 8, 8, 2}));
             }),
             Catch::Contains("noise"));
  ResNet3DOptions f;
  f.extent = {2, 8, 8};
  CHECK_THAT(error_of([&] { ResNet3D network(f); }), Catch::Contains("at least 4"));
  f.extent = {8, 8, 10};
  CHECK_THAT(error_of([&] { ResNet3D network(f); }), Catch::Contains("10"));
  f.extent = {8, 8, 8};
  f.nf = 2;
  ResNet3D network(f);
  CHECK_THAT(error_of([&] {
               network.forward(tape, volumes({1, 8, 8, 16, 3}));
             }),
             Catch::Contains("1×8×8×16×3"));
  VoxelClassifier classifier(VoxelClassifierOptions{});
  CHECK_THAT(error_of([&] {
               classifier.forward(tape, volumes({1, 8, 8, 8, 3}));
             }),
             Catch::Contains("VoxelClassifier"));
}

TEST_CASE("models: bf16 is near fp32", "[models]") {
  // Twenty convolutions, each result rounded to 8 bits (2e-3): a few percent at the end.
  UNet3DOptions options;
  options.base = 8;
  UNet3D exact(options);
  options.compute = DType::bf16;
  UNet3D fast(options);
  initialise(exact, 1);
  initialise(fast, 1);
  const Tensor x = volumes({2, 16, 16, 16, 3});
  Tape tape;
  const Tensor y = fast.forward(tape, x, {});
  CHECK(y.dtype() == DType::f32);
  const double error = distance(y, exact.forward(tape, x, {}));
  CHECK(error < 5e-2);
  CHECK(error > 1e-5);  // it did run in bf16
}

TEST_CASE("models: the same seed gives the same bits, another seed others", "[models]") {
  const DType compute = GENERATE(DType::f32, DType::bf16);
  const auto run = [&](std::uint64_t seed) {
    UNet3DOptions options;
    options.base = 4;
    options.compute = compute;
    UNet3D map(options);
    ResNet3DOptions f_options;
    f_options.nf = 4;
    f_options.compute = compute;
    ResNet3D f(f_options);
    Initialiser first(Initialisation::kaiming, seed, 0);
    map.initialise(first);
    Initialiser second(Initialisation::kaiming, seed, 1);
    f.initialise(second);
    Parameters map_parameters(map);
    Parameters f_parameters(f);
    Optimizer optimizer(map_parameters, {});
    Optimizer f_optimizer(f_parameters, {});
    for (int s = 0; s < 3; ++s) {
      Tape tape;
      const Tensor x =
          Tensor::normal({2, 16, 16, 16, 3}, {seed, Purpose::test, static_cast<std::uint64_t>(s)}, 0, 1);
      tape.backward(ops::mean(tape, f.forward(tape, map.forward(tape, x, {}))));
      optimizer.step();
      f_optimizer.step();
    }
    std::vector<float> weights = map_parameters.values().to_floats();
    const std::vector<float> more = f_parameters.values().to_floats();
    weights.insert(weights.end(), more.begin(), more.end());
    return weights;
  };
  const std::vector<float> once = run(1);
  CHECK(run(1) == once);
  CHECK(run(2) != once);
}

TEST_CASE("models: initial distributions have the spread they name", "[models]") {
  const auto spread = [](Initialisation kind) {
    Conv3d layer(16, 32, 3, {});
    Initialiser initialiser(kind, 1, 0);
    layer.initialise(initialiser);
    const std::vector<double> w = doubles(layer.weight);
    const double largest = *std::max_element(w.begin(), w.end());
    return std::array<double, 3>{norm(w) / std::sqrt(static_cast<double>(w.size())), largest,
                                 norm(doubles(layer.bias))};
  };
  const double in = 16 * 27;
  const double out = 32 * 27;
  // 13 824 weights: a deviation is known to 1/√(2·13824) = 0.6 %.
  const auto standard = spread(Initialisation::pytorch_default);
  CHECK(standard[0] == Approx(1 / std::sqrt(3 * in)).epsilon(0.03));
  CHECK(standard[1] < 1 / std::sqrt(in));
  CHECK(standard[2] > 0);
  CHECK(spread(Initialisation::kaiming)[0] == Approx(std::sqrt(2 / out)).epsilon(0.03));
  CHECK(spread(Initialisation::xavier)[0] == Approx(std::sqrt(2 / (in + out))).epsilon(0.03));
  CHECK(spread(Initialisation::normal)[0] == Approx(0.02).epsilon(0.03));
  CHECK(spread(Initialisation::normal)[2] == 0);
}

TEST_CASE("models: UNet3D and ResNet3D on a GPU as on the CPU, values and gradients",
          "[models][cuda][device]") {
  if (no_device()) return;
  const auto run = [](Device device) {
    UNet3DOptions map_options;
    map_options.base = 2;
    UNet3D map(map_options);
    ResNet3DOptions f_options;
    f_options.extent = {8, 8, 8};
    f_options.nf = 2;
    f_options.nf_max = 4;
    ResNet3D f(f_options);
    Parameters map_parameters(map, DType::f32, device);
    Parameters f_parameters(f, DType::f32, device);
    initialise(map, 4);
    initialise(f, 5);
    Tape tape;
    const Tensor y = map.forward(tape, volumes({2, 8, 8, 8, 3}).to(device), {});
    tape.backward(ops::mean(tape, f.forward(tape, y)));
    return std::array{doubles(y), doubles(map_parameters.gradients()), doubles(f_parameters.gradients())};
  };
  const auto here = run(Device::cpu);
  const auto there = run(Device::cuda);
  // fp32 summed in another order: 8e-7 was measured.
  for (std::size_t i = 0; i < here.size(); ++i) CHECK(distance(there[i], here[i]) < 1e-5);
}

TEST_CASE("models: noise is drawn for each voxel, or for each cell of a grid", "[models]") {
  UNet3DOptions options;
  options.base = 2;
  options.noise_channels = 2;
  const UNet3D map(options);
  const RandomState state{5, Purpose::noise, 9};
  Tape tape;
  const Tensor x = volumes({3, 8, 16, 8, 3});
  CHECK(doubles(draw_noise(tape, map, x, {0.5, 0}, state)) ==
        doubles(Tensor::normal({3, 8, 16, 8, 2}, state, 0, 0.5)));
  const std::vector<double> cells = doubles(Tensor::normal({3, 2, 2, 2, 2}, state, 0, 0.5));
  const std::vector<double> noise = doubles(draw_noise(tape, map, x, {0.5, 2}, state));
  REQUIRE(noise.size() == 3 * 8 * 16 * 8 * 2);
  std::size_t i = 0;
  std::size_t wrong = 0;
  for (std::size_t n = 0; n < 3; ++n) {
    for (std::size_t d = 0; d < 8; ++d) {
      for (std::size_t h = 0; h < 16; ++h) {
        for (std::size_t w = 0; w < 8; ++w) {
          for (std::size_t k = 0; k < 2; ++k)
            wrong += noise[i++] == cells[(((n * 2 + d / 4) * 2 + h / 8) * 2 + w / 4) * 2 + k] ? 0 : 1;
        }
      }
    }
  }
  CHECK(wrong == 0);
  // Of an image the depth has one cell; a deterministic map takes none.
  CHECK(draw_noise(tape, map, volumes({3, 1, 16, 8, 3}), {1, 4}, state).shape() == Shape{3, 1, 16, 8, 2});
  CHECK_THAT(error_of([&] {
               draw_noise(tape, map, x, {1, 3}, state);
             }),
             Catch::Contains("3 cells") && Catch::Contains("3×8×16×8×3"));
  options.noise_channels = 0;
  CHECK_FALSE(draw_noise(tape, UNet3D(options), x, {}, state).defined());
  CHECK(tape.size() == 0);
}

TEST_CASE("models: UNet3D takes statistics in training alone", "[models][device]") {
  static std::map<std::string, int> calls;  // of each kernel
  const Device device = GENERATE(from_range(devices()));
  const NormKind norm = GENERATE(NormKind::none, NormKind::batch);
  INFO("norm " << static_cast<int>(norm) << " on " << name_of(device));
  UNet3DOptions options;
  options.base = 8;
  options.norm = norm;
  options.flat = true;  // a small network, quickly emulated
  UNet3D net(options);
  initialise(net, 1);
  const Parameters parameters(net, DType::f32, device);
  const Tensor x = volumes({2, 1, 8, 8, 3}).to(device);
  const EvaluationMode evaluation(net);
  Tape tape;
  const NoRecord quiet(tape);
  calls.clear();
  kernels::profile_hook = [](const char* name, const Stream&, kernels::Moment moment) {
    if (moment == kernels::Moment::begin) ++calls[name];
  };
  net.forward(tape, x, {});
  kernels::profile_hook = nullptr;
  CHECK(calls["conv3d_forward"] == 15);
  CHECK(calls["normalisation_statistics"] == 0);
  CHECK(calls["normalisation_forward"] == (norm == NormKind::batch ? 14 : 0));
}
