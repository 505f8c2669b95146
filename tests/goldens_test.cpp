// Parity with PyTorch: single operations and the two networks, forward, loss and every gradient
// (tests/goldens/README.md). In double the answers agree to their fp32 storage; in fp32 the limit is what
// another order of summation costs (PyTorch's own fp32 is up to 1.2e-5 away from its double).
#include <functional>

#include "engine/ops/activation.h"
#include "engine/ops/conv3d.h"
#include "engine/ops/elementwise.h"
#include "engine/ops/normalisation.h"
#include "engine/ops/pooling.h"
#include "engine/ops/reduction.h"
#include "engine/ops/resample.h"
#include "kernels/sizes.h"
#include "models/resnet3d.h"
#include "models/unet3d.h"
#include "tests/golden.h"

using namespace voxot;
using namespace voxot::test;

namespace {

/// fp64: half an ulp of fp32 storage is 6e-8. fp32: four digits; a mistake is orders
/// larger.
double network_limit(DType dtype) { return dtype == DType::f64 ? 1e-6 : 1e-4; }
/// One op in fp32 sums at most a few hundred products.
double op_limit(DType dtype) { return dtype == DType::f64 ? 2e-7 : 2e-6; }

using Op = std::function<Tensor(Tape&, const std::vector<Tensor>&)>;

/// Checks output and gradients of one stored op; `inputs` are names below the case ("input", "weight", ...).
void check_op(const Golden& g, const std::string& name, const std::vector<std::string>& inputs, DType dtype,
              const Op& op, bool volumes = true) {
  INFO(name << " in " << name_of(dtype));
  const auto read = [&](const std::string& what) {
    return volumes ? g.tensor(name + "." + what, dtype) : g.plain(name + "." + what, dtype);
  };
  std::vector<Tensor> tensors;
  for (const std::string& input : inputs) {
    tensors.push_back(read(input));
    tensors.back().require_gradient();
  }
  Tape tape;
  const Tensor y = op(tape, tensors);
  const double forward = distance(y, read("output"));
  CHECK(forward < op_limit(dtype));
  // Σ y·grad_output has the stored gradient.
  tape.backward(ops::sum(tape, ops::mul(tape, y, read("grad_output"))));
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    INFO("grad_" << inputs[i]);
    const Tensor gradient = gradient_of(tensors[i]);
    REQUIRE(gradient.defined());
    const double error = distance(gradient, read("grad_" + inputs[i]));
    CHECK(error < op_limit(dtype));
  }
}

ops::Conv3dGeometry geometry(const Golden& g, const std::string& name) {
  return {g.triple(name + ".stride"), g.triple(name + ".padding"),
          g.has(name + ".dilation") ? g.triple(name + ".dilation") : std::array<std::int64_t, 3>{1, 1, 1}};
}

ops::PoolWindow window(const Golden& g, const std::string& name) {
  return {g.triple(name + ".kernel"), g.triple(name + ".stride"), g.triple(name + ".padding")};
}

const std::vector<std::string> kParametric{"input", "weight", "bias"};

}  // namespace

TEST_CASE("goldens: convolutions", "[goldens][conv3d]") {
  const Golden g("ops");
  const DType dtype = GENERATE(DType::f64, DType::f32);
  for (const char* name : {"conv3d_same", "conv3d_pointwise", "conv3d_stride2", "conv3d_dilation2",
                           "conv3d_mixed", "conv3d_flat"}) {
    check_op(g, name, kParametric, dtype, [&](Tape& tape, const std::vector<Tensor>& in) {
      return ops::conv3d(tape, in[0], in[1], in[2], geometry(g, name));
    });
  }
  for (const char* name : {"conv_transpose3d_stride2", "conv_transpose3d_double"}) {
    check_op(g, name, kParametric, dtype, [&](Tape& tape, const std::vector<Tensor>& in) {
      return ops::conv_transpose3d(tape, in[0], in[1], in[2], geometry(g, name),
                                   g.triple(std::string(name) + ".output_padding"));
    });
  }
  check_op(g, "linear", kParametric, dtype,
           [](Tape& tape, const std::vector<Tensor>& in) { return ops::linear(tape, in[0], in[1], in[2]); });
}

TEST_CASE("goldens: normalisations", "[goldens][normalisation]") {
  const Golden g("ops");
  const DType dtype = GENERATE(DType::f64, DType::f32);
  for (const bool training : {true, false}) {
    const std::string name = training ? "batch_norm_train" : "batch_norm_eval";
    const Tensor mean = g.plain(name + ".running_mean", dtype);
    const Tensor variance = g.plain(name + ".running_var", dtype);
    check_op(g, name, kParametric, dtype, [&](Tape& tape, const std::vector<Tensor>& in) {
      ops::BatchNormOptions options;
      options.training = training;
      return ops::batch_norm(tape, in[0], in[1], in[2], mean, variance, options);
    });
    const std::string after = training ? "_after" : "";
    CHECK(distance(mean, g.plain(name + ".running_mean" + after, dtype)) < op_limit(dtype));
    CHECK(distance(variance, g.plain(name + ".running_var" + after, dtype)) < op_limit(dtype));
  }
  check_op(g, "group_norm", kParametric, dtype, [&](Tape& tape, const std::vector<Tensor>& in) {
    return ops::group_norm(tape, in[0], g.integers("group_norm.groups")[0], in[1], in[2]);
  });
  check_op(g, "instance_norm", kParametric, dtype, [&](Tape& tape, const std::vector<Tensor>& in) {
    return ops::group_norm(tape, in[0], 4, in[1], in[2]);
  });
}

TEST_CASE("goldens: pooling and resampling", "[goldens][pooling][resample]") {
  const Golden g("ops");
  const DType dtype = GENERATE(DType::f64, DType::f32);
  for (const char* name : {"avg_pool3d_padding_counted", "avg_pool3d_padding_not_counted"}) {
    check_op(g, name, {"input"}, dtype, [&](Tape& tape, const std::vector<Tensor>& in) {
      return ops::average_pool3d(tape, in[0], window(g, name),
                                 std::string(name) == "avg_pool3d_padding_counted");
    });
  }
  for (const char* name : {"max_pool3d", "max_pool3d_overlapping"}) {
    check_op(g, name, {"input"}, dtype, [&](Tape& tape, const std::vector<Tensor>& in) {
      return ops::max_pool3d(tape, in[0], window(g, name));
    });
  }
  for (const auto& [name, mode] : {std::pair{"upsample_nearest", ops::Upsampling::nearest},
                                   std::pair{"upsample_trilinear", ops::Upsampling::trilinear}}) {
    check_op(g, name, {"input"}, dtype,
             [&, name = name, mode = mode](Tape& tape, const std::vector<Tensor>& in) {
               return ops::upsample(tape, in[0], g.triple(std::string(name) + ".factor"), mode);
             });
  }
}

TEST_CASE("goldens: activations", "[goldens][activation]") {
  const Golden g("ops");
  const DType dtype = GENERATE(DType::f64, DType::f32);
  const std::pair<const char*, Activation> kinds[] = {
      {"relu", {ActivationKind::relu, 0}},       {"leaky_relu", {ActivationKind::leaky_relu, 0.2F}},
      {"silu", {ActivationKind::silu, 0}},       {"tanh", {ActivationKind::tanh, 0}},
      {"sigmoid", {ActivationKind::sigmoid, 0}}, {"softplus", {ActivationKind::softplus, 0}},
  };
  for (const auto& [name, act] : kinds) {
    check_op(g, name, {"input"}, dtype, [act = act](Tape& tape, const std::vector<Tensor>& in) {
      return ops::activation(tape, in[0], act);
    });
  }
  check_op(g, "prelu", {"input", "weight"}, dtype,
           [](Tape& tape, const std::vector<Tensor>& in) { return ops::prelu(tape, in[0], in[1]); });
}

TEST_CASE("goldens: losses and reductions", "[goldens][reduction]") {
  const Golden g("ops");
  const DType dtype = GENERATE(DType::f64, DType::f32);
  check_op(g, "cross_entropy", {"input"}, dtype, [&](Tape& tape, const std::vector<Tensor>& in) {
    const auto wide = g.integers("cross_entropy.labels");
    const std::vector<std::int32_t> labels(wide.begin(), wide.end());
    return ops::cross_entropy(tape, in[0], labels);
  });
  check_op(g, "mse_loss", {"input", "target"}, dtype, [](Tape& tape, const std::vector<Tensor>& in) {
    return ops::mean_squared_error(tape, in[0], in[1]);
  });
  check_op(g, "mean", {"input"}, dtype,
           [](Tape& tape, const std::vector<Tensor>& in) { return ops::mean(tape, in[0]); });
  check_op(
      g, "var_unbiased", {"input"}, dtype,
      [&](Tape& tape, const std::vector<Tensor>& in) {
        return ops::reduce(tape, in[0], Reduction::variance, to_size(g.integers("var_unbiased.axis")[0]));
      },
      false);
}

namespace {

/// A convolution's bias before a normalisation with one channel in a group has gradient 0 but for rounding.
bool vanishes(const std::string& name) {
  return name.ends_with("double_conv.0.bias") || name.ends_with("double_conv.3.bias");
}

void check_gradients(const Golden& g, const std::string& prefix, Parameters& parameters, DType dtype,
                     bool normalised) {
  const auto gradients = named_gradients(parameters);
  std::size_t checked = 0;
  for (const NamedTensor& entry : parameters.named()) {
    if (!entry.parameter) continue;
    ++checked;
    INFO("gradient of " << entry.name);
    const std::vector<double> got = doubles(gradients.at(entry.name));
    const std::vector<double> expected = g.values(prefix + "grad." + entry.name);
    CHECK(gradients.at(entry.name).shape == g.array(prefix + "grad." + entry.name).shape);
    if (normalised && vanishes(entry.name)) {
      const std::string weight = entry.name.substr(0, entry.name.size() - 4) + "weight";
      CHECK(norm(got) < network_limit(dtype) * norm(g.values(prefix + "grad." + weight)));
    } else {
      const double error = distance(got, expected);
      CHECK(error < network_limit(dtype));
    }
  }
  CHECK(checked == g.below(prefix + "grad.").size());
}

/// One case of a network file: training forward, loss, all gradients, buffers, and the evaluation forward.
void check_map(const Golden& g, const std::string& prefix, const UNet3DOptions& options, DType dtype) {
  INFO(prefix << " in " << name_of(dtype));
  UNet3D map(options);
  Parameters parameters(map, dtype);
  load_state_dict(map, g.below("weight."), "golden");
  Tensor x = g.tensor(prefix + "input", dtype);
  x.require_gradient();
  Tensor noise;
  if (options.noise_channels > 0) {
    noise = g.tensor(prefix + "noise", dtype);
    noise.require_gradient();
  }
  Tape tape;
  const Tensor y = map.forward(tape, x, noise);
  CHECK(distance(y, g.tensor(prefix + "output", dtype)) < network_limit(dtype));
  const Tensor target = g.has(prefix + "target") ? g.tensor(prefix + "target", dtype) : x.detached();
  const Tensor loss = ops::mean_squared_error(tape, y, target);
  CHECK(loss.item() == Approx(g.number(prefix + "loss")).epsilon(network_limit(dtype) / 10));
  tape.backward(loss);
  CHECK(distance(gradient_of(x), g.tensor(prefix + "grad_input", dtype)) < network_limit(dtype));
  if (noise.defined()) {
    CHECK(distance(gradient_of(noise), g.tensor(prefix + "grad_noise", dtype)) < network_limit(dtype));
  }
  const auto after = state_dict(map);
  const auto buffers = g.below(prefix + "buffer_after.");
  CHECK(buffers.empty() == (options.norm != NormKind::batch));
  for (const auto& [name, expected] : buffers) {
    INFO("buffer " << name);
    CHECK(distance(doubles(after.at(name)), doubles(expected)) < network_limit(dtype) / 10);
  }
  if (g.has(prefix + "output_eval")) {
    const NoRecord quiet(tape);
    const EvaluationMode evaluation(map);
    CHECK(distance(map.forward(tape, x, noise), g.tensor(prefix + "output_eval", dtype)) <
          network_limit(dtype));
  }
  check_gradients(g, prefix, parameters, dtype, options.norm != NormKind::none);
}

}  // namespace

TEST_CASE("goldens: UNet3D with batch normalisation", "[goldens][models]") {
  const Golden g("unet3d");
  UNet3DOptions options;
  options.base = 4;
  const DType dtype = GENERATE(DType::f64, DType::f32);
  check_map(g, "cubic.", options, dtype);
  check_map(g, "noncubic.", options, dtype);
}

TEST_CASE("goldens: UNet3D with group normalisation, transposed upsampling, noise, residual",
          "[goldens][models]") {
  const Golden g("unet3d_group_transposed");
  UNet3DOptions options;
  options.base = 2;
  options.norm = NormKind::group;
  options.upsampling = UpsamplingKind::transposed;
  options.residual = true;
  options.noise_channels = 1;
  check_map(g, "", options, GENERATE(DType::f64, DType::f32));
}

TEST_CASE("goldens: UNet3D with instance normalisation", "[goldens][models]") {
  const Golden g("unet3d_instance");
  UNet3DOptions options;
  options.base = 2;
  options.norm = NormKind::instance;
  check_map(g, "", options, GENERATE(DType::f64, DType::f32));
}

TEST_CASE("goldens: ResNet3D", "[goldens][models]") {
  const Golden g("resnet3d");
  ResNet3DOptions options;
  options.nf = 8;
  options.nf_max = 16;
  const DType dtype = GENERATE(DType::f64, DType::f32);
  ResNet3D f(options);
  Parameters parameters(f, dtype);
  load_state_dict(f, g.below("weight."), "golden");
  Tensor x = g.tensor("input", dtype);
  x.require_gradient();
  Tape tape;
  const Tensor y = f.forward(tape, x);
  CHECK(distance(y, g.tensor("output", dtype)) < network_limit(dtype));
  const Tensor loss = ops::mean_squared_error(tape, y, g.tensor("target", dtype));
  CHECK(loss.item() == Approx(g.number("loss")).epsilon(network_limit(dtype) / 10));
  tape.backward(loss);
  CHECK(distance(gradient_of(x), g.tensor("grad_input", dtype)) < network_limit(dtype));
  check_gradients(g, "", parameters, dtype, false);
}
