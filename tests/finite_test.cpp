// What is not finite is counted in one pass, and state that holds any is neither saved nor loaded.
#include "engine/finite.h"

#include <fmt/format.h>

#include "engine/buffer.h"
#include "engine/optimizer.h"
#include "kernels/sizes.h"
#include "models/unet3d.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

std::unique_ptr<UNet3D> small_unet() {
  UNet3DOptions options;
  options.base = 2;
  auto network = std::make_unique<UNet3D>(options);
  Initialiser initialiser(Initialisation::pytorch_default, 1, 0);
  network->initialise(initialiser);
  return network;
}

/// Element `at` of t becomes `value`.
void plant(const Tensor& t, std::int64_t at, double value) {
  t.window(at, {1}).copy_from(Tensor::full({1}, value, t.dtype()));
}

const double kBad[] = {NAN, INFINITY, -INFINITY};

}  // namespace

TEST_CASE("finite: values of many spans are counted, the largest finite ones not", "[finite][device]") {
  const Device device = GENERATE(from_range(devices()));
  const DType dtype = GENERATE(DType::f32, DType::bf16, DType::f64);
  INFO(name_of(dtype) << " on " << name_of(device));
  const std::int64_t sizes[] = {1, 0, 3, 4, 17, 1000, 4099, 140001};
  const double largest = dtype == DType::f64 ? std::numeric_limits<double>::max() : 0x1.fep127;
  std::vector<Tensor> tensors;
  std::vector<ValueSpan> spans;
  std::vector<std::int32_t> expected;
  for (std::int64_t k = 0; k < 300; ++k) {  // more than a launch takes
    const std::int64_t count = k % 8 == 7 && k > 16 ? 5 : sizes[k % 8];
    const std::int64_t shift = k % 3;  // off the alignment of a vector
    std::vector<double> values = test_values(count, Values::normal, static_cast<std::uint64_t>(k));
    if (count > 2) values[1] = k % 2 == 0 ? largest : -largest;
    if (count > 2) values[2] = std::numeric_limits<double>::denorm_min();
    std::int32_t bad = 0;
    for (std::int64_t i = k % 5; i < count; i += 1 + count / 7, ++bad) {
      values[to_size(i)] = kBad[(i + k) % 3];
    }
    // What lies around a span is not counted.
    const Tensor all = Tensor::full({count + shift + 8}, NAN, dtype);
    if (count > 0) {
      all.window(shift, {count}).copy_from(Tensor::from({count}, std::span<const double>(values)).to(dtype));
    }
    tensors.push_back(all.to(device));
    spans.push_back({tensors.back().as<std::byte>() + to_size(shift) * size_of(dtype), count});
    expected.push_back(bad);
  }
  const auto n = std::ssize(spans);
  const Buffer<std::int32_t> counts(n, device);
  kernels::count_nonfinite(counts.stream(), dtype, n, spans.data(), counts.data());
  CHECK(counts.to_host() == expected);
}

TEST_CASE("finite: a network's state with NaN or infinity is not saved", "[finite][device]") {
  const Device device = GENERATE(from_range(devices()));
  const auto network = small_unet();
  Parameters parameters(*network, DType::f32, device);
  const auto whole = state_dict(*network);
  std::size_t k = 0;
  for (const NamedTensor& entry : parameters.named()) {
    if (entry.counter != nullptr) continue;
    // An emulated device is slow: some of the tensors there.
    for (const double bad :
         device == Device::cpu || k++ % 30 == 0 ? std::span(kBad) : std::span<const double>()) {
      const float before = entry.tensor->to_floats().back();
      plant(*entry.tensor, entry.tensor->count() - 1, bad);
      CHECK(error_of([&] { state_dict(*network, "map."); }) ==
            fmt::format("not saved: map.{}: 1 of {} values are NaN or infinite", entry.name,
                        entry.tensor->count()));
      plant(*entry.tensor, entry.tensor->count() - 1, static_cast<double>(before));
    }
  }
  CHECK(state_dict(*network).size() == whole.size());
}

TEST_CASE("finite: a file's state with NaN or infinity is not loaded, and nothing changes", "[finite]") {
  const auto network = small_unet();
  Parameters parameters(*network);
  const auto state = state_dict(*network);
  const std::vector<float> before = parameters.values().to_floats();
  for (const std::string name :
       {"inc.double_conv.0.weight", "inc.double_conv.1.running_var", "outc.conv.bias"}) {
    for (const double bad : kBad) {
      auto damaged = state;
      std::vector<float> values = damaged.at(name).to_floats();
      for (float& v : values) v += 1;
      values.back() = static_cast<float>(bad);
      damaged[name] = HostArray::from_floats(damaged.at(name).shape, values);
      CHECK(error_of([&] { load_state_dict(*network, damaged, "x.safetensors"); }) ==
            fmt::format("x.safetensors: {}: 1 of {} values are NaN or infinite", name, values.size()));
      CHECK(parameters.values().to_floats() == before);
    }
  }
  // A double beyond fp32 would become infinite.
  auto wide = state;
  wide["outc.conv.bias"] = HostArray::from_doubles({3}, {0, 1e300, 0});
  CHECK_THAT(error_of([&] { load_state_dict(*network, wide, "x.safetensors"); }),
             Catch::Contains("outc.conv.bias: 1 of 3 values"));
}

TEST_CASE("finite: an optimizer's and an average's state", "[finite][device]") {
  const Device device = GENERATE(from_range(devices()));
  const auto network = small_unet();
  Parameters parameters(*network, DType::f32, device);
  Optimizer optimizer(parameters, {});
  MovingAverage average(parameters, 0.9);
  average.update();
  std::map<std::string, HostArray> good;
  optimizer.save("o.", good);
  average.save("a.", good);
  for (const std::string name :
       {"o.exp_avg.inc.double_conv.0.weight", "o.exp_avg_sq.outc.conv.bias", "a.module.outc.conv.weight",
        "a.module.up4.conv.double_conv.4.running_var"}) {
    for (const double bad : kBad) {
      auto damaged = good;
      std::vector<float> values = good.at(name).to_floats();
      values[0] = static_cast<float>(bad);
      damaged[name] = HostArray::from_floats(good.at(name).shape, values);
      const std::string message = error_of([&] {
        optimizer.load("o.", damaged, "step.safetensors");
        average.load("a.", damaged, "step.safetensors");
      });
      CHECK(message ==
            fmt::format("step.safetensors: {}: 1 of {} values are NaN or infinite", name, values.size()));
    }
  }
  std::map<std::string, HostArray> after;
  optimizer.save("o.", after);
  average.save("a.", after);
  for (const auto& [name, array] : good) CHECK(after.at(name).bytes == array.bytes);

  // Adam's second moment of gradients of 1e25 overflows, and the weights stand still, finite.
  parameters.values().fill(1);
  for (const NamedTensor& entry : parameters.named()) {
    if (!entry.parameter) continue;
    entry.tensor->gradient()->value.fill(1e25);
    entry.tensor->gradient()->ready = true;
  }
  optimizer.step();
  CHECK_NOTHROW(state_dict(*network));
  std::map<std::string, HostArray> arrays;
  CHECK_THAT(error_of([&] { optimizer.save("solver.transport.", arrays); }),
             Catch::StartsWith("not saved: solver.transport.exp_avg_sq.inc.double_conv.0.weight: "));
  CHECK(arrays.empty());
  average.update();
  parameters.values().fill(INFINITY);
  average.update();
  CHECK_THAT(error_of([&] { average.save("a.", arrays); }),
             Catch::StartsWith("not saved: a.module.inc.double_conv.0.weight: "));
}
