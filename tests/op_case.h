#pragma once
// One op under test: its inputs and a functor that runs it. check(OpCase) drives all that an op owes:
//   gradient     backward of a random linear functional of the output against central differences, in double;
//                left out for large inputs, which are there for the threads: one element's share drowns in
//                rounding
//   device       output and gradients in double against the CPU's
//   precision    output and gradients in fp32, and in bf16 where the op has it, against double
//   accumulation a tensor that is used twice gets the sum of both gradients
//   guards       inputs lie between NaN, gradients between sentinels: nothing outside is read or written
//   NaN          what depends on a value, forward or backward, is NaN where that value is
#include <deque>
#include <functional>
#include <optional>
#include <utility>

#include "engine/ops/elementwise.h"
#include "engine/ops/reduction.h"
#include "kernels/features.h"
#include "kernels/sizes.h"
#include "tests/cuda_device.h"
#include "tests/golden.h"
#include "tests/guarded.h"

namespace voxot::test {

enum class Values : std::uint8_t {
  normal,
  away,      // |v| ≥ 0.25: away from the kink of an activation
  positive,  // in [0.25, 2]
  distinct,  // no two alike within 251 consecutive elements: no ties in a maximum
};

struct OpInput {
  Shape shape;
  bool parameter = false;  // stays fp32 when the op runs in bf16
  Values values = Values::normal;
  bool differentiable = true;
};

struct OpCase {
  std::string name;
  std::vector<OpInput> inputs;
  std::function<Tensor(Tape&, const std::vector<Tensor>&)> op;
  bool bf16 = true;
  bool refuses_nan = false;  // in its inputs
  // Relative L2 limits against double. fp32: eps 6e-8, times the root of at most some thousand summands,
  // times the few steps of an op. bf16: values are rounded to 8 bits, half an ulp is 2e-3, before and after
  // the activation.
  double fp32_limit = 1e-5;
  double device_limit = 1e-12;  // fp64 on a device against the CPU
  double bf16_limit = 1e-2;
};

/// Every value is a multiple of 1/64 below 4, so that fp32 and bf16 hold it exactly and an error is the op's
/// own.
inline std::vector<double> test_values(std::int64_t count, Values kind, std::uint64_t seed) {
  std::vector<double> values(to_size(count));
  Random random(seed, Purpose::test);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double sign = random.uniform() < 0.5F ? -1 : 1;
    const double size = std::min(std::abs(static_cast<double>(random.normal())), 3.9);
    const double step = size < 1 ? 64 : 32;  // bf16 keeps 8 bits
    double v = std::round(size * step) / step;
    if (kind == Values::away || kind == Values::positive) v = std::max(v, 0.25);
    if (kind == Values::positive) v = std::min(v, 2.0);
    values[i] = kind == Values::positive ? v : sign * v;
    if (kind == Values::distinct) values[i] = (static_cast<double>((i * 73 + seed) % 251) - 125) / 64;
  }
  return values;
}

/// Where ops can be tested: the CPU, and a CUDA device, real or emulated, where there is one.
inline const std::vector<Device>& devices() {
  static const std::vector<Device> all =
      kernels::cuda_devices() > 0 ? std::vector{Device::cpu, Device::cuda} : std::vector{Device::cpu};
  return all;
}

struct OpRun {
  Tensor output;
  std::vector<Tensor> gradients;  // undefined for inputs without
};

class OpDriver {
 public:
  OpDriver(const OpCase& c, Device device) : case_(c), device_(device) {
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      values_.push_back(test_values(c.inputs[i].shape.count(), c.inputs[i].values, 17 * i + 1));
    }
    Tape tape;
    output_shape_ = c.op(tape, make(DType::f64, values_)).shape();
  }

  [[nodiscard]] std::vector<Tensor> make(DType dtype, const std::vector<std::vector<double>>& values) const {
    std::vector<Tensor> tensors;
    for (std::size_t i = 0; i < case_.inputs.size(); ++i) {
      const OpInput& input = case_.inputs[i];
      const DType type = input.parameter && dtype == DType::bf16 ? DType::f32 : dtype;
      tensors.push_back(between_nan(input.shape, values[i], type));
    }
    return tensors;
  }

  /// The weights of a functional of the output.
  [[nodiscard]] Tensor functional(DType dtype, std::uint64_t seed) const {
    return Tensor::from(
        output_shape_,
        std::span<const double>(test_values(output_shape_.count(), Values::normal, 1000 + seed)), dtype,
        device_);
  }

  /// Runs the op once for each seed on one tape, and Σ of the functionals backward. `planted` is a place of
  /// the first functional and what it holds instead.
  [[nodiscard]] OpRun run(DType dtype, const std::vector<std::uint64_t>& seeds,
                          std::optional<std::pair<std::size_t, double>> planted = {}) const {
    std::vector<Tensor> inputs = make(dtype, values_);
    std::deque<Guarded> written;  // gradients, which stay where they are
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!case_.inputs[i].differentiable) continue;
      inputs[i].require_gradient();
      inputs[i].gradient()->persistent = true;
      inputs[i].gradient()->value = written.emplace_back(inputs[i].shape(), std::vector<double>{},
                                                         inputs[i].dtype(), kSentinel, device_);
    }
    Tape tape;
    OpRun result;
    Tensor loss;
    for (const std::uint64_t seed : seeds) {
      result.output = case_.op(tape, inputs);
      Tensor weights = functional(result.output.dtype(), seed);
      if (planted && seed == seeds.front()) {
        std::vector<double> values = doubles(weights);
        values[planted->first] = planted->second;
        weights = Tensor::from(output_shape_, std::span<const double>(values), weights.dtype(), device_);
      }
      const Tensor term = ops::sum(tape, ops::mul(tape, result.output, weights));
      loss = loss.defined() ? ops::add(tape, loss, term) : term;
    }
    tape.backward(loss);
    CHECK(tape.size() == 0);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (!case_.inputs[i].differentiable) {
        result.gradients.emplace_back();
        continue;
      }
      INFO("input " << i);
      REQUIRE(inputs[i].gradient()->ready);
      result.gradients.push_back(inputs[i].gradient()->value.clone());
    }
    return result;
  }

  void check_gradients() const {
    const OpRun exact = run(DType::f64, {0});
    const std::vector<double> weights = doubles(functional(DType::f64, 0));
    for (std::size_t i = 0; i < case_.inputs.size(); ++i) {
      if (!case_.inputs[i].differentiable) continue;
      const std::vector<double> gradient = doubles(exact.gradients[i]);
      // At most about 300 elements of each input are moved.
      const std::size_t stride = gradient.size() / 300 + 1;
      std::vector<double> numeric;
      std::vector<double> analytic;
      for (std::size_t e = 0; e < gradient.size(); e += stride) {
        constexpr double kStep = 1e-5;  // truncation step² ~ 1e-10, rounding 1e-15·Σ/step ~ 1e-9
        auto moved = values_;
        const auto at = [&](double value) {
          moved[i][e] = value;
          Tape tape;
          const NoRecord quiet(tape);
          const std::vector<double> y = doubles(case_.op(tape, make(DType::f64, moved)));
          double sum = 0;
          for (std::size_t k = 0; k < y.size(); ++k) sum += weights[k] * y[k];
          return sum;
        };
        const double v = values_[i][e];
        numeric.push_back((at(v + kStep) - at(v - kStep)) / (2 * kStep));
        analytic.push_back(gradient[e]);
      }
      INFO("gradient of input " << i);
      CHECK(norm(analytic) > 0);
      const double error = distance(analytic, numeric);
      CHECK(error < 1e-6);
    }
  }

  /// In double, where only the order of sums and last bits of functions differ.
  void check_alike(const OpDriver& reference) const {
    const OpRun here = run(DType::f64, {0});
    const OpRun there = reference.run(DType::f64, {0});
    INFO("fp64 against " << name_of(reference.device_));
    const double forward = distance(here.output, there.output);
    CHECK(forward < case_.device_limit);
    for (std::size_t i = 0; i < here.gradients.size(); ++i) {
      if (!case_.inputs[i].differentiable) continue;
      INFO("gradient of input " << i);
      const double error = distance(here.gradients[i], there.gradients[i]);
      CHECK(error < case_.device_limit);
    }
  }

  void check_precision(DType dtype) const {
    const double limit = dtype == DType::bf16 ? case_.bf16_limit : case_.fp32_limit;
    const OpRun exact = run(DType::f64, {0});
    const OpRun fast = run(dtype, {0});
    INFO(name_of(dtype));
    const double forward = distance(fast.output, exact.output);
    CHECK(forward < limit);
    for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
      if (!case_.inputs[i].differentiable) continue;
      INFO("gradient of input " << i);
      const double error = distance(fast.gradients[i], exact.gradients[i]);
      CHECK(error < limit);
    }
  }

  /// An output that moves with an input's value, however far it must go, is NaN where that value is; so is a
  /// gradient with the output's. `reference` says what moves. Fast convolutions may spread a NaN further.
  void check_nan(const std::vector<DType>& types, const OpDriver& reference) const {
    for (std::size_t i = 0; i < case_.inputs.size(); ++i) {
      const std::size_t e = values_[i].size() / 2;
      // Far to either side, so that no activation and no maximum hides it.
      const std::vector<double> low = reference.output_with(DType::f64, i, e, -100);
      const std::vector<double> high = reference.output_with(DType::f64, i, e, 100);
      for (const DType dtype : types) {
        INFO("NaN at " << e << " of input " << i << ", " << name_of(dtype));
        CHECK(lost_nan(low, high, output_with(dtype, i, e, NAN)) == 0);
      }
    }
    const std::size_t place = to_size(output_shape_.count()) / 2;
    const OpRun low = reference.run(DType::f64, {0}, std::pair{place, -100.0});
    const OpRun high = reference.run(DType::f64, {0}, std::pair{place, 100.0});
    for (const DType dtype : types) {
      const OpRun got = run(dtype, {0}, std::pair{place, static_cast<double>(NAN)});
      for (std::size_t i = 0; i < got.gradients.size(); ++i) {
        if (!case_.inputs[i].differentiable) continue;
        INFO("NaN in the output's gradient, gradient of input " << i << ", " << name_of(dtype));
        CHECK(lost_nan(doubles(low.gradients[i]), doubles(high.gradients[i]), doubles(got.gradients[i])) ==
              0);
      }
    }
  }

  /// Both uses at once against the sum of each alone, in the type's own rounding.
  void check_accumulation(DType dtype) const {
    const double limit = dtype == DType::bf16  ? case_.bf16_limit
                         : dtype == DType::f32 ? case_.fp32_limit
                                               : 1e-12;
    const OpRun first = run(dtype, {1});
    const OpRun second = run(dtype, {2});
    const OpRun both = run(dtype, {1, 2});
    INFO("used twice, " << name_of(dtype));
    for (std::size_t i = 0; i < both.gradients.size(); ++i) {
      if (!case_.inputs[i].differentiable) continue;
      std::vector<double> sum = doubles(first.gradients[i]);
      const std::vector<double> other = doubles(second.gradients[i]);
      const std::vector<double> joint = doubles(both.gradients[i]);
      // The terms' size, not the sum's, is what rounding is relative to: the two may cancel.
      const double size = norm(sum) + norm(other);
      for (std::size_t e = 0; e < sum.size(); ++e) sum[e] += other[e] - joint[e];
      INFO("gradient of input " << i);
      CHECK(norm(sum) < limit * size);
    }
  }

 private:
  /// The output where element `at` of input `which` is `value`.
  [[nodiscard]] std::vector<double> output_with(DType dtype, std::size_t which, std::size_t at,
                                                double value) const {
    auto planted = values_;
    planted[which][at] = value;
    Tape tape;
    const NoRecord quiet(tape);
    return doubles(case_.op(tape, make(dtype, planted)));
  }

  /// Elements that differ between `low` and `high` by more than rounding (some of the largest's 1e-16) and
  /// are not NaN in `got`.
  static int lost_nan(const std::vector<double>& low, const std::vector<double>& high,
                      const std::vector<double>& got) {
    double largest = 0;
    for (std::size_t k = 0; k < got.size(); ++k)
      largest = std::max({largest, std::abs(low[k]), std::abs(high[k])});
    int lost = 0;
    for (std::size_t k = 0; k < got.size(); ++k)
      lost += std::abs(low[k] - high[k]) > 1e-12 * largest && !std::isnan(got[k]) ? 1 : 0;
    return lost;
  }

  /// An input, which only the tape outlives: a read beside it shows in the result.
  [[nodiscard]] Tensor between_nan(const Shape& shape, const std::vector<double>& values, DType dtype) const {
    const Tensor all = Tensor::full({shape.count() + 2 * kGuard}, NAN, dtype);
    all.window(kGuard, shape).copy_from(Tensor::from(shape, std::span<const double>(values)));
    return all.to(device_).window(kGuard, shape);
  }

  const OpCase& case_;
  Device device_;
  std::vector<std::vector<double>> values_;
  Shape output_shape_;
};

inline void check(const OpCase& c, Device device) {
  INFO(c.name << " on " << name_of(device));
  const OpDriver driver(c, device);
  const bool large =
      std::any_of(c.inputs.begin(), c.inputs.end(), [](const OpInput& i) { return i.shape.count() > 8500; });
  if (device != Device::cpu) {
    driver.check_alike(OpDriver(c, Device::cpu));  // whose gradients are checked by differences
  } else if (!large) {
    driver.check_gradients();
  }
  driver.check_accumulation(DType::f64);
  std::vector<DType> types{DType::f32};
  if (c.bf16) types.push_back(DType::bf16);
  for (const DType dtype : types) {
    driver.check_precision(dtype);
    driver.check_accumulation(dtype);
  }
  if (large || c.refuses_nan) return;
  if (device == Device::cpu) types.push_back(DType::f64);  // a device's is the same code
  driver.check_nan(types, OpDriver(c, Device::cpu));
}

/// On every device at hand.
inline void check(const OpCase& c) {
  for (const Device device : devices()) check(c, device);
}

}  // namespace voxot::test
