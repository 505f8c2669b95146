// Slices of channels: skip connections that are written where the next convolution reads them, against the
// same ops with copies.
#include <map>

#include "engine/ops/conv3d.h"
#include "engine/ops/pooling.h"
#include "engine/ops/resample.h"
#include "models/unet3d.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

constexpr Activation kRelu{ActivationKind::relu, 0};
constexpr ops::Conv3dGeometry kSame{{1, 1, 1}, {1, 1, 1}, {1, 1, 1}};
constexpr ops::Conv3dGeometry kTwice{{2, 2, 2}, {0, 0, 0}, {1, 1, 1}};

Tensor values_of(const Shape& shape, std::uint64_t seed, DType dtype, Device device) {
  return Tensor::from(shape, std::span<const double>(test_values(shape.count(), Values::normal, seed)), dtype,
                      device);
}

/// Memory for `shape`, with room for as many channels more behind it; undefined where slices are not wanted.
Tensor room(bool slices, const Shape& shape, std::int64_t more, const Tensor& like) {
  if (!slices) return {};
  const Shape both{shape[0], shape[1], shape[2], shape[3], shape[4] + more};
  return Tensor::empty(both, like.dtype(), like.device()).channels(0, shape[4]);
}

/// One level of a U-Net: skip = relu(norm(x)), its maximum pooled, [skip, upsampled].
Tensor normalised_level(Tape& tape, const std::vector<Tensor>& in, bool slices) {
  ops::NormOptions options;
  options.activation = kRelu;
  options.into = room(slices, in[0].shape(), in[0].extent(4), in[0]);
  const Tensor skip = ops::group_norm(tape, in[0], in[0].extent(4), in[1], in[2], options);
  return ops::concat_upsampled(tape, skip, ops::max_pool3d(tape, skip, {}));
}

/// The same without normalisation, upsampled by a transposed convolution.
Tensor convolved_level(Tape& tape, const std::vector<Tensor>& in, bool slices, Activation activation) {
  const Tensor& x = in[0];
  const std::int64_t width = in[1].extent(0);
  const std::int64_t below = in[3].extent(4);
  ops::Conv3dFused fused;
  fused.activation = activation;
  fused.into = room(slices, {x.extent(0), x.extent(1), x.extent(2), x.extent(3), width}, below, x);
  const Tensor skip = ops::conv3d(tape, x, in[1], in[2], kSame, fused);
  const Tensor beside = slices ? skip.whole().channels(width, below) : Tensor{};
  const Tensor pooled = ops::max_pool3d(tape, skip, {});
  const Tensor up = ops::conv_transpose3d(tape, pooled, in[3], in[4], kTwice, {0, 0, 0}, beside);
  return ops::concat_channels(tape, skip, up);
}

using Level = std::function<Tensor(Tape&, const std::vector<Tensor>&, bool)>;

struct Result {
  std::vector<double> y;
  std::vector<std::vector<double>> gradients;
};

Result run(const Level& level, const std::vector<OpInput>& inputs, DType dtype, Device device, bool slices) {
  std::vector<Tensor> in;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const DType type = inputs[i].parameter && dtype == DType::bf16 ? DType::f32 : dtype;
    in.push_back(values_of(inputs[i].shape, i + 1, type, device));
    in.back().require_gradient();
  }
  Tape tape;
  const Tensor y = level(tape, in, slices);
  const Tensor functional = values_of(y.shape(), 99, dtype, device);
  tape.backward(ops::sum(tape, ops::mul(tape, y, functional)));
  Result result{doubles(y), {}};
  for (const Tensor& t : in) result.gradients.push_back(doubles(gradient_of(t)));
  return result;
}

/// The arithmetic is the same with and without copies, and so are the bits.
void check_bits(const char* name, const Level& level, const std::vector<OpInput>& inputs) {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      INFO(name << ", " << name_of(dtype) << " on " << name_of(device));
      const Result copied = run(level, inputs, dtype, device, false);
      const Result sliced = run(level, inputs, dtype, device, true);
      CHECK(norm(copied.y) > 0);
      CHECK(sliced.y == copied.y);
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        INFO("gradient of input " << i);
        CHECK(norm(copied.gradients[i]) > 0);
        CHECK(sliced.gradients[i] == copied.gradients[i]);
      }
    }
  }
}

/// While it lives, counts the kernels that are called.
class CallCount {
 public:
  CallCount() {
    calls().clear();
    kernels::profile_hook = [](const char* name, const Stream&, kernels::Moment moment) {
      if (moment == kernels::Moment::begin) ++calls()[name];
    };
  }
  ~CallCount() { kernels::profile_hook = nullptr; }
  CallCount(const CallCount&) = delete;
  CallCount& operator=(const CallCount&) = delete;
  static std::int64_t of(const std::string& name) { return calls()[name]; }

 private:
  static std::map<std::string, std::int64_t>& calls() {
    static std::map<std::string, std::int64_t> all;
    return all;
  }
};

}  // namespace

TEST_CASE("channel slices: the same memory, and only for those that ask for rows", "[slices][device]") {
  const Device device = GENERATE(from_range(devices()));
  const Tensor all = values_of({2, 3, 5}, 1, DType::f32, device);
  const Tensor slice = all.channels(1, 3);
  CHECK(slice.is_slice());
  CHECK(slice.shape() == Shape{2, 3, 3});
  CHECK(slice.pitch() == 5);
  CHECK(slice.first_channel() == 1);
  const std::vector<double> values = doubles(all);
  std::vector<double> expected;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % 5 >= 1 && i % 5 < 4) expected.push_back(values[i]);
  }
  CHECK(doubles(slice.clone()) == expected);
  CHECK_FALSE(slice.clone().is_slice());
  CHECK(slice.whole().data() == all.data());
  CHECK(slice.whole().shape() == all.shape());
  CHECK_FALSE(all.channels(0, 5).is_slice());
  CHECK(all.channels(0, 1).joins(slice));
  CHECK_FALSE(slice.joins(all.channels(0, 1)));
  CHECK_FALSE(all.channels(0, 2).joins(slice));
  CHECK_FALSE(all.clone().channels(0, 1).joins(slice));

  const auto refused = [&](auto call) { CHECK_THAT(error_of(call), Catch::Contains("slice of 5 channels")); };
  Tape tape;
  refused([&] { (void)slice.data(); });
  refused([&] { (void)slice.reshaped({18}); });
  refused([&] { (void)slice.window(0, {3}); });
  refused([&] { (void)slice.to(DType::f64); });
  refused([&] { (void)slice.to_floats(); });
  refused([&] { slice.fill(0); });
  refused([&] { slice.copy_from(Tensor::full({2, 3, 3}, 1, DType::f32, device)); });
  refused([&] { ops::add(tape, slice, slice); });
  refused([&] { ops::sum(tape, slice); });
  CHECK_THAT(error_of([&] { (void)slice.channels(0, 1); }), Catch::Contains("is a slice itself"));
  CHECK_THAT(error_of([&] { (void)all.channels(3, 3); }), Catch::Contains("3 from 3 on of 2×3×5"));

  const Tensor x = Tensor::full({1, 2, 2, 2, 2}, 1, DType::f32, device);
  const Tensor w = Tensor::full({2, 1, 1, 1, 2}, 1, DType::f32, device);
  ops::Conv3dFused fused;
  fused.into = Tensor::empty({1, 2, 2, 2, 4}, DType::f32, device).channels(0, 3);
  CHECK_THAT(error_of([&] { ops::conv3d(tape, x, w, {}, {}, fused); }),
             Catch::Contains("conv3d: room for 1×2×2×2×3 fp32"));
  fused.into = fused.into.whole().channels(0, 2);
  fused.residual = x;
  CHECK_THAT(error_of([&] { ops::conv3d(tape, x, w, {}, {}, fused); }), Catch::Contains("in a slice"));
}

TEST_CASE("channel slices: a level of a U-Net has the bits of copies", "[slices][device]") {
  const std::vector<OpInput> normalised = {{{2, 4, 6, 2, 16}}, {{16}, true}, {{16}, true}};
  check_bits("normalised", normalised_level, normalised);
  const std::vector<OpInput> few = {{{3, 2, 4, 6, 3}}, {{3}, true}, {{3}, true}};
  check_bits("normalised, three channels", normalised_level, few);
  const auto convolved = [](Activation activation) {
    return [=](Tape& tape, const std::vector<Tensor>& in, bool slices) {
      return convolved_level(tape, in, slices, activation);
    };
  };
  // 16 channels at these extents run by Winograd on the CPU; stride 2 and bf16 run by oneDNN.
  const std::vector<OpInput> wide = {
      {{2, 4, 8, 8, 16}}, {{16, 3, 3, 3, 16}, true}, {{16}, true}, {{16, 2, 2, 2, 8}, true}, {{8}, true}};
  check_bits("convolved, relu", convolved(kRelu), wide);
  check_bits("convolved", convolved({}), wide);
}

TEST_CASE("channel slices: gradients of a level", "[slices][device]") {
  OpCase normalised;
  normalised.name = "normalised";
  normalised.inputs = {{{2, 2, 4, 2, 3}}, {{3}, true, Values::away}, {{3}, true}};
  normalised.op = [](Tape& tape, const std::vector<Tensor>& in) { return normalised_level(tape, in, true); };
  normalised.bf16 = false;  // rounding makes ties, and the maximum's gradient goes elsewhere
  check(normalised);
  OpCase convolved;
  convolved.name = "convolved";
  convolved.inputs = {
      {{1, 2, 4, 2, 3}}, {{5, 3, 3, 3, 3}, true}, {{5}, true}, {{5, 2, 2, 2, 2}, true}, {{2}, true}};
  convolved.op = [](Tape& tape, const std::vector<Tensor>& in) {
    return convolved_level(tape, in, true, {ActivationKind::leaky_relu, 0.2F});
  };
  convolved.bf16 = false;
  check(convolved);
}

// Backward, the skip's gradient is then memory of its own when the joined tensor's share comes.
TEST_CASE("channel slices: a skip that is pooled after it was joined", "[slices][device]") {
  const Level level = [](Tape& tape, const std::vector<Tensor>& in, bool slices) {
    ops::NormOptions options;
    options.into = room(slices, in[0].shape(), in[1].extent(4), in[0]);
    const Tensor skip = ops::group_norm(tape, in[0], 4, {}, {}, options);
    const Tensor joined = ops::concat_upsampled(tape, skip, in[1]);
    const Tensor pooled = ops::max_pool3d(tape, skip, {});
    return ops::add(tape, ops::max_pool3d(tape, joined, {}), ops::concat_channels(tape, pooled, in[1]));
  };
  check_bits("pooled last", level, {{{2, 4, 4, 2, 8}}, {{2, 2, 2, 1, 8}}});
}

TEST_CASE("channel slices: joined in place, or copied where they do not fit", "[slices][device]") {
  const Device device = GENERATE(from_range(devices()));
  Tape tape;
  const Tensor all = values_of({1, 2, 2, 2, 7}, 1, DType::f32, device);
  const Tensor below = values_of({1, 1, 1, 1, 3}, 2, DType::f32, device);
  const std::vector<double> before = doubles(all);
  const Tensor low = all.channels(0, 4);
  const Tensor high = all.channels(4, 3);
  CHECK(ops::concat_channels(tape, low, high).data() == all.data());
  const Tensor middle = ops::concat_channels(tape, all.channels(1, 3), high);  // all but the first
  CHECK(middle.data() != all.data());
  std::vector<double> expected;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (i % 7 != 0) expected.push_back(before[i]);
  }
  CHECK(doubles(middle) == expected);
  CHECK(ops::concat_channels(tape, high, low).data() != all.data());
  CHECK(ops::concat_upsampled(tape, all.channels(0, 3), below).data() != all.data());  // room for four
  CHECK(doubles(all) == before);
  const Tensor joined = ops::concat_upsampled(tape, low, below);
  CHECK(joined.data() == all.data());
  const std::vector<double> part = doubles(below);
  const std::vector<double> after = doubles(joined);
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < after.size(); ++i)
    wrong += after[i] == (i % 7 < 4 ? before[i] : part[i % 7 - 4]) ? 0 : 1;
  CHECK(wrong == 0);
}

TEST_CASE("channel slices: UNet3D copies no channels, and takes statistics in training alone",
          "[slices][device]") {
  const Device device = GENERATE(from_range(devices()));
  for (const NormKind norm : {NormKind::none, NormKind::batch}) {
    for (const UpsamplingKind upsampling : {UpsamplingKind::nearest, UpsamplingKind::transposed}) {
      UNet3DOptions options;
      options.base = 8;
      options.norm = norm;
      options.upsampling = upsampling;
      options.flat = true;  // a small network, quickly emulated
      UNet3D net(options);
      Initialiser initialiser(Initialisation::pytorch_default, 1, 0);
      net.initialise(initialiser);
      const Parameters parameters(net, DType::f32, device);
      const Tensor x = values_of({2, 1, 8, 8, 3}, 1, DType::f32, device);
      INFO("norm " << static_cast<int>(norm) << ", upsampling " << static_cast<int>(upsampling) << " on "
                   << name_of(device));
      {
        const CallCount count;
        Tape tape;
        tape.backward(ops::sum(tape, net.forward(tape, x, {})));
        CHECK(CallCount::of("conv3d_forward") >= 15);
        // What oneDNN convolves into a slice, or out of one, it copies.
        const bool normalised = norm == NormKind::batch && upsampling == UpsamplingKind::nearest;
        if (device == Device::cuda || normalised) CHECK(CallCount::of("copy_channels") == 0);
      }
      const EvaluationMode evaluation(net);
      const CallCount count;
      Tape tape;
      const NoRecord quiet(tape);
      net.forward(tape, x, {});
      CHECK(CallCount::of("normalisation_statistics") == 0);
      CHECK(CallCount::of("normalisation_forward") == (norm == NormKind::batch ? 14 : 0));
    }
  }
}
