// Spectral normalisation: the op, the power iteration, layers and networks with it, and PyTorch's.
#include "engine/ops/spectral_norm.h"

#include <Eigen/Dense>

#include "kernels/spectral_norm.h"
#include "models/mlp.h"
#include "models/resnet3d.h"
#include "tests/op_case.h"
#include "tests/temp_directory.h"

using namespace voxot;
using namespace voxot::test;

namespace {

Tensor values_of(const Shape& shape, Values kind, std::uint64_t seed, DType dtype = DType::f64,
                 Device device = Device::cpu) {
  return Tensor::from(shape, std::span<const double>(test_values(shape.count(), kind, seed)), dtype, device);
}

Shape columns_of(const Shape& weight) { return {weight.count() / weight[0]}; }

double largest_singular_value(const Tensor& weight) {
  const std::vector<double> w = doubles(weight);
  const Eigen::Map<const Eigen::Matrix<double, -1, -1, Eigen::RowMajor>> matrix(
      w.data(), weight.extent(0), weight.count() / weight.extent(0));
  return Eigen::JacobiSVD<Eigen::MatrixXd>(matrix).singularValues()(0);
}

double norm_of(const Tensor& t) { return norm(doubles(t)); }

}  // namespace

TEST_CASE("spectral_norm: a weight over u'Wv, with u and v constant", "[spectral_norm][device]") {
  // Rows and columns beside whole vectors and blocks; the last is for threads and chunks.
  for (const Shape& shape : {Shape{5, 7}, Shape{3, 3, 1, 2, 5}, Shape{1, 9}, Shape{12, 1}, Shape{33, 257},
                             Shape{16, 3, 3, 3, 40}}) {
    OpCase c;
    c.name = shape.text();
    // Positive, so that σ is a sum that keeps its digits.
    c.inputs = {{shape, true, Values::positive},
                {{shape[0]}, true, Values::positive, false},
                {columns_of(shape), true, Values::positive, false}};
    c.bf16 = false;
    c.op = [](Tape& tape, const std::vector<Tensor>& in) {
      return ops::spectral_norm(tape, in[0], in[1], in[2]);
    };
    check(c);
  }
}

TEST_CASE("spectral_norm: the gradient is of the vectors that the forward pass saw", "[spectral_norm]") {
  const Tensor u = values_of({4}, Values::positive, 2);
  const Tensor v = values_of({6}, Values::positive, 3);
  const auto gradient = [&](bool moved) {
    Tensor weight = values_of({4, 6}, Values::positive, 1);
    weight.require_gradient();
    const Tensor left = u.clone();
    const Tensor right = v.clone();
    Tape tape;
    const Tensor y = ops::spectral_norm(tape, weight, left, right);
    if (moved) ops::iterate_spectrum(weight, left, right);
    tape.backward(ops::sum(tape, ops::mul(tape, y, values_of({4, 6}, Values::normal, 4))));
    return doubles(gradient_of(weight));
  };
  CHECK(gradient(true) == gradient(false));
}

TEST_CASE("spectral_norm: power iterations find the largest singular value, on a device as on the CPU",
          "[spectral_norm][device]") {
  for (const Shape& shape : {Shape{7, 5}, Shape{5, 300}, Shape{300, 5}, Shape{1, 4}, Shape{6, 3, 3, 3, 2}}) {
    CAPTURE(shape.text());
    struct Vectors {
      Vectors(const Shape& shape, Device device)
          : u(Tensor::full({shape[0]}, 0, DType::f64, device)),
            v(values_of(columns_of(shape), Values::away, 6, DType::f64, device)) {}
      Tensor u, v;
    };
    const Tensor weight = values_of(shape, Values::normal, 5, DType::f64);
    Vectors here(shape, Device::cpu);
    ops::iterate_spectrum(weight, here.u, here.v, 5);
    for (const Device device : devices()) {
      CAPTURE(name_of(device));
      Vectors there(shape, device);
      ops::iterate_spectrum(weight.to(device), there.u, there.v, 5);
      CHECK(distance(doubles(there.u), doubles(here.u)) < 1e-13);
      CHECK(distance(doubles(there.v), doubles(here.v)) < 1e-13);
    }
    ops::iterate_spectrum(weight, here.u, here.v, 400);
    CHECK(norm_of(here.u) == Approx(1));
    CHECK(norm_of(here.v) == Approx(1));
    Tape tape;
    const Tensor y = ops::spectral_norm(tape, weight, here.u, here.v);
    // The error falls as (σ₂/σ₁)^800.
    CHECK(norm_of(weight) / norm_of(y) == Approx(largest_singular_value(weight)).epsilon(1e-9));
    CHECK(largest_singular_value(y) == Approx(1).epsilon(1e-9));
  }
}

TEST_CASE("spectral_norm: one iteration is u from v, then v from u, within its bounds",
          "[spectral_norm][device]") {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      CAPTURE(name_of(device), name_of(dtype));
      const Tensor weight = values_of({3, 70}, Values::normal, 7, dtype, device);
      const Guarded u({3}, {0, 0, 0}, dtype, kSentinel, device);
      const Guarded v({70}, test_values(70, Values::normal, 8), dtype, kSentinel, device);
      const std::vector<double> w = doubles(weight);
      const std::vector<double> start = doubles(v);
      ops::iterate_spectrum(weight, u, v);
      const Eigen::Map<const Eigen::Matrix<double, 3, 70, Eigen::RowMajor>> matrix(w.data());
      const Eigen::Vector3d left =
          (matrix * Eigen::Map<const Eigen::VectorXd>(start.data(), 70)).normalized();
      const Eigen::VectorXd right = (matrix.transpose() * left).normalized();
      const double limit = dtype == DType::f64 ? 1e-14 : 1e-6;  // an ulp or two
      CHECK(distance(doubles(u), std::span(left.data(), 3)) < limit);
      CHECK(distance(doubles(v), std::span(right.data(), 70)) < limit);
    }
  }
}

TEST_CASE("spectral_norm: a matrix of zeros leaves its vectors finite", "[spectral_norm][device]") {
  for (const Device device : devices()) {
    const Tensor weight = Tensor::full({3, 4}, 0, DType::f32, device);
    const Tensor u = Tensor::full({3}, 1, DType::f32, device);
    const Tensor v = Tensor::full({4}, 1, DType::f32, device);
    ops::iterate_spectrum(weight, u, v);
    CHECK(norm_of(u) == 0);  // 0/ε
    CHECK(norm_of(v) == 0);
  }
}

TEST_CASE("spectral_norm: what does not fit is refused", "[spectral_norm]") {
  Tape tape;
  const Tensor w = Tensor::full({3, 4}, 1);
  const auto message = [&](const Tensor& weight, const Tensor& u, const Tensor& v) {
    return error_of([&] { ops::spectral_norm(tape, weight, u, v); });
  };
  CHECK_THAT(message(w, Tensor::full({4}, 1), Tensor::full({4}, 1)), Catch::Contains("4 fp32 on cpu"));
  CHECK_THAT(message(w, Tensor::full({3}, 1), Tensor::full({4}, 1, DType::f64)), Catch::Contains("fp64"));
  CHECK_THAT(message(Tensor::full({4}, 1), Tensor::full({4}, 1), Tensor::full({1}, 1)),
             Catch::Contains("no matrix"));
  const Tensor half = w.to(DType::bf16);
  CHECK_THAT(message(half, Tensor::full({3}, 1, DType::bf16), Tensor::full({4}, 1, DType::bf16)),
             Catch::Contains("fp32 or fp64"));
}

TEST_CASE("spectral_norm: as PyTorch's, a matrix and a convolution's weight", "[spectral_norm][goldens]") {
  const Golden g("ops");
  for (const std::string name : {"spectral_norm_linear", "spectral_norm_conv3d"}) {
    for (const DType dtype : {DType::f64, DType::f32}) {
      CAPTURE(name, name_of(dtype));
      // Two training steps of PyTorch's: an iteration, then the forward pass.
      Tensor weight = g.plain(name + ".weight", dtype);
      weight.require_gradient();
      const Tensor u = g.plain(name + ".u", dtype);
      const Tensor v = g.plain(name + ".v", dtype);
      ops::iterate_spectrum(weight, u, v, 2);
      Tape tape;
      const Tensor y = ops::spectral_norm(tape, weight, u, v);
      tape.backward(ops::sum(tape, ops::mul(tape, y, g.plain(name + ".grad_output", dtype))));
      // fp32: sums of up to a hundred products in double, then a rounding or two.
      const double limit = dtype == DType::f64 ? 2e-7 : 1e-6;
      CHECK(distance(u, g.plain(name + ".u_after", dtype)) < limit);
      CHECK(distance(v, g.plain(name + ".v_after", dtype)) < limit);
      CHECK(distance(y, g.plain(name + ".output", dtype)) < limit);
      CHECK(distance(gradient_of(weight), g.plain(name + ".grad_weight", dtype)) < limit);
    }
  }
}

TEST_CASE("spectral_norm: ResNet3D as PyTorch's, one iteration for all forwards of a step",
          "[spectral_norm][goldens][models]") {
  const Golden g("resnet3d_spectral");
  ResNet3DOptions options;
  options.nf = 4;
  options.nf_max = 8;
  options.spectral_normalisation = true;
  const DType dtype = GENERATE(DType::f64, DType::f32);
  // As for the other networks (goldens_test.cpp): the fp32 storage, and four digits.
  const double limit = dtype == DType::f64 ? 1e-6 : 1e-4;
  ResNet3D f(options);
  Parameters parameters(f, dtype);
  load_state_dict(f, g.below("weight."), "golden");
  Tape tape;
  CHECK(distance(f.forward(tape, g.tensor("input", dtype)), g.tensor("output_before", dtype)) < limit);
  tape.clear();
  f.iterate_spectra();
  const Tensor y = f.forward(tape, g.tensor("input", dtype));
  CHECK(distance(y, g.tensor("output", dtype)) < limit);
  const Tensor again = f.forward(tape, g.tensor("other", dtype));
  CHECK(distance(again, g.tensor("output_other", dtype)) < limit);
  tape.backward(ops::scale_add(tape, ops::mean(tape, y), -0.5, ops::mean(tape, again)));
  const auto state = state_dict(f);
  const auto buffers = g.below("buffer_after.");
  CHECK(buffers.size() == 30);  // u and v of 15 layers
  for (const auto& [name, array] : buffers) {
    INFO(name);
    CHECK(distance(doubles(state.at(name)), doubles(array)) < limit);
  }
  const auto gradients = named_gradients(parameters);
  const auto expected = g.below("grad.");
  for (const auto& [name, array] : expected) {
    INFO("gradient of " << name);
    CHECK(distance(doubles(gradients.at(name)), doubles(array)) < limit);
  }
  std::size_t wanted = 0;
  for (const NamedTensor& entry : parameters.named()) wanted += entry.parameter ? 1 : 0;
  CHECK(expected.size() == wanted);
}

TEST_CASE("spectral_norm: a network's layers begin with unit singular values; without it nothing changes",
          "[spectral_norm][models]") {
  MlpOptions options;
  options.hidden = {12, 7};
  options.quadratic = true;
  const auto state_of = [&](bool spectral) {
    options.spectral_normalisation = spectral;
    MlpPotential f(options);
    Initialiser initialiser(Initialisation::pytorch_default, 4, 1);
    f.initialise(initialiser);
    return state_dict(f);
  };
  const auto plain = state_of(false);
  const auto spectral = state_of(true);
  CHECK(plain.size() == 7);
  CHECK(spectral.size() == 13);
  CHECK(spectral.contains("quadratic.weight"));
  const auto tensor_of = [&](const std::string& name) {
    const HostArray& a = spectral.at(name);
    return Tensor::from(Shape(std::span(a.shape)), std::span<const double>(doubles(a)));
  };
  for (const char* layer : {"mlp.layers.0.", "mlp.layers.1.", "mlp.layers.2."}) {
    const std::string name(layer);
    INFO(name);
    Tape tape;
    const Tensor weight = tensor_of(name + "weight_orig");
    const Tensor y =
        ops::spectral_norm(tape, weight, tensor_of(name + "weight_u"), tensor_of(name + "weight_v"));
    // Fifteen iterations, from a random vector.
    CHECK(largest_singular_value(y) == Approx(1).epsilon(0.05));
    CHECK(largest_singular_value(y) > 1 - 1e-6);
  }
}
