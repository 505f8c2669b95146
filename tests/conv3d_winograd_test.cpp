#include "kernels/cpu/conv3d/winograd.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cpu/conv3d/naive.h"
#include "kernels/sizes.h"

using namespace voxot;
using namespace voxot::cpu;

namespace {

// F(2, 3) twice and F(4, 3) once leave about 1e-6 of the largest value, sums of some thousand products
// included.
constexpr double kTolerance = 5e-6;

struct Shape {
  std::int64_t batch, c_in, c_out;
  std::array<std::int64_t, 3> extent;
  std::array<std::int64_t, 3> padding{1, 1, 1};
};

const std::vector<Shape> kShapes = {
    {1, 8, 8, {1, 1, 1}},
    {3, 16, 8, {2, 2, 2}},
    {1, 8, 16, {5, 7, 3}},
    {3, 16, 16, {5, 7, 3}},
    {2, 16, 32, {4, 4, 4}},
    {1, 32, 16, {3, 2, 9}},
    {1, 16, 16, {16, 16, 16}},
    // Blocks of more tiles than a pass of the weight gradient takes, whole passes and not.
    {4, 8, 8, {16, 16, 16}},
    {5, 8, 8, {16, 15, 12}},
    {3, 48, 16, {4, 5, 6}},
    {2, 16, 16, {5, 4, 6}, {0, 0, 0}},
    {1, 8, 16, {3, 4, 5}, {2, 2, 2}},
    {1, 16, 8, {4, 3, 5}, {0, 1, 2}},
    {2, 128, 144, {4, 3, 4}},
    {1, 256, 128, {2, 3, 5}},
};

Conv3dParams params(const Shape& s) {
  Conv3dParams p;
  p.batch = s.batch;
  p.in_channels = s.c_in;
  p.out_channels = s.c_out;
  p.in_extent = s.extent;
  p.kernel = {3, 3, 3};
  p.padding = s.padding;
  return p;
}

std::vector<float> normal(std::int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(to_size(count));
  for (float& v : values) v = distribution(generator);
  return values;
}

std::vector<double> widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

double relative_error(const std::vector<float>& got, const std::vector<double>& expected) {
  double error = 0;
  double largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    error = std::max(error, std::abs(static_cast<double>(got[i]) - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return error / largest;
}

std::vector<float> transformed(const Conv3dParams& p, const std::vector<float>& w, float scale,
                               bool mirrored) {
  std::vector<float> u(winograd_weight_count(p));
  kernels::conv3d_winograd_weights({}, p, w.data(), scale, mirrored, u.data());
  return u;
}

struct Problem {
  Conv3dParams p;
  std::vector<float> x, w, y;
  explicit Problem(const Shape& s)
      : p(params(s)),
        x(normal(p.batch * p.in_voxels() * p.in_channels, 1)),
        w(normal(p.weight_count(), 2)),
        y(normal(p.batch * p.out_voxels() * p.out_channels, 3)) {
    INFO("batch " << s.batch << ", channels " << s.c_in << " to " << s.c_out);
  }
};

}  // namespace

TEST_CASE("winograd takes the geometry that it can", "[conv3d][winograd]") {
  const Conv3dParams p = params({16, 32, 32, {8, 8, 8}});
  REQUIRE(winograd_eligible(p));
  REQUIRE(winograd_grad_weight_eligible(p));
  const auto refused = [&](auto change) {
    Conv3dParams other = p;
    change(other);
    return !winograd_eligible(other) && !winograd_grad_weight_eligible(other);
  };
  CHECK(refused([](Conv3dParams& q) { q.in_channels = 24; }));
  CHECK(refused([](Conv3dParams& q) { q.out_channels = 1; }));
  CHECK(refused([](Conv3dParams& q) { q.stride[1] = 2; }));
  CHECK(refused([](Conv3dParams& q) { q.dilation[2] = 2; }));
  CHECK(refused([](Conv3dParams& q) { q.kernel[0] = 1; }));
  CHECK(refused([](Conv3dParams& q) { q.padding[0] = 3; }));
  // One tile does not pay for the transform of the weights.
  CHECK(refused([](Conv3dParams& q) { q.batch = 1, q.in_extent = {1, 1, 1}; }));
}

TEST_CASE("winograd forward equals the direct sum", "[conv3d][winograd]") {
  for (const Shape& shape : kShapes) {
    const Problem c(shape);
    std::vector<double> expected(c.y.size());
    conv3d_forward_naive(c.p, widen(c.x).data(), widen(c.w).data(), {}, expected.data());
    std::vector<float> y(c.y.size(), std::nanf(""));
    kernels::conv3d_winograd_forward({}, c.p, c.x.data(), transformed(c.p, c.w, 1, false).data(), nullptr,
                                     nullptr, {}, false, y.data());
    INFO(shape.c_in << " to " << shape.c_out << " channels, extent " << shape.extent[0] << " "
                    << shape.extent[1] << " " << shape.extent[2]);
    CHECK(relative_error(y, expected) < kTolerance);
  }
}

TEST_CASE("winograd fuses scale, bias, residual and activation", "[conv3d][winograd]") {
  const Problem c({2, 16, 32, {5, 7, 3}});
  const std::vector<float> bias = normal(c.p.out_channels, 4);
  const std::vector<double> wide_bias = widen(bias);
  const std::vector<double> residual = widen(c.y);
  const float scale = 0.5F;
  std::vector<float> scaled_bias = bias;
  for (float& b : scaled_bias) b *= scale;
  for (const Activation activation :
       {Activation{}, Activation{ActivationKind::relu, 0}, Activation{ActivationKind::leaky_relu, 0.2F}}) {
    Conv3dEpilogue e{wide_bias.data(), residual.data(), scale, activation};
    std::vector<double> expected(c.y.size());
    conv3d_forward_naive(c.p, widen(c.x).data(), widen(c.w).data(), e, expected.data());
    std::vector<float> y(c.y.size());
    kernels::conv3d_winograd_forward({}, c.p, c.x.data(), transformed(c.p, c.w, scale, false).data(),
                                     scaled_bias.data(), c.y.data(), activation, false, y.data());
    CHECK(relative_error(y, expected) < kTolerance);
  }
}

TEST_CASE("winograd grad_input is the mirrored forward", "[conv3d][winograd]") {
  for (const Shape& shape : kShapes) {
    const Problem c(shape);
    Conv3dParams mirrored = c.p;
    std::swap(mirrored.in_channels, mirrored.out_channels);
    mirrored.in_extent = c.p.out_extent();
    for (std::size_t a = 0; a < 3; ++a) mirrored.padding[a] = 2 - c.p.padding[a];
    for (const Write write : {Write::overwrite, Write::accumulate}) {
      std::vector<float> grad_x = c.x;
      std::vector<double> expected = widen(c.x);
      conv3d_grad_input_naive(c.p, widen(c.y).data(), widen(c.w).data(), 0.25, expected.data(), write);
      kernels::conv3d_winograd_forward({}, mirrored, c.y.data(),
                                       transformed(mirrored, c.w, 0.25F, true).data(), nullptr, nullptr, {},
                                       write == Write::accumulate, grad_x.data());
      INFO(shape.c_in << " to " << shape.c_out << " channels, extent " << shape.extent[0] << " "
                      << shape.extent[1] << " " << shape.extent[2]);
      CHECK(relative_error(grad_x, expected) < kTolerance);
    }
  }
}

TEST_CASE("winograd grad_weight equals the direct sum", "[conv3d][winograd]") {
  for (const Shape& shape : kShapes) {
    const Problem c(shape);
    const std::size_t outs = to_size(c.p.out_channels);
    std::vector<double> expected(c.w.size()), expected_bias(outs);
    conv3d_grad_weight_naive(c.p, widen(c.x).data(), widen(c.y).data(), 1.0, expected.data(),
                             expected_bias.data(), Write::overwrite);
    std::vector<float> grad(c.w.size(), std::nanf("")), bias(outs, std::nanf("")), alone(c.w.size());
    kernels::conv3d_winograd_grad_weight({}, c.p, c.x.data(), c.y.data(), grad.data(), bias.data());
    kernels::conv3d_winograd_grad_weight({}, c.p, c.x.data(), c.y.data(), alone.data(), nullptr);
    INFO(shape.c_in << " to " << shape.c_out << " channels, extent " << shape.extent[0] << " "
                    << shape.extent[1] << " " << shape.extent[2]);
    CHECK(relative_error(grad, expected) < kTolerance);
    CHECK(relative_error(bias, expected_bias) < kTolerance);
    CHECK(alone == grad);
  }
}

TEST_CASE("winograd gives the same bits again", "[conv3d][winograd]") {
  for (const Shape& shape : {Shape{3, 16, 16, {5, 7, 3}}, Shape{2, 128, 144, {4, 3, 4}}}) {
    const Problem c(shape);
    const std::vector<float> u = transformed(c.p, c.w, 1, false);
    std::vector<float> first(c.y.size()), second(c.y.size()), grad_first(c.w.size()), grad_second(c.w.size());
    kernels::conv3d_winograd_forward({}, c.p, c.x.data(), u.data(), nullptr, nullptr, {}, false,
                                     first.data());
    kernels::conv3d_winograd_forward({}, c.p, c.x.data(), u.data(), nullptr, nullptr, {}, false,
                                     second.data());
    kernels::conv3d_winograd_grad_weight({}, c.p, c.x.data(), c.y.data(), grad_first.data(), nullptr);
    kernels::conv3d_winograd_grad_weight({}, c.p, c.x.data(), c.y.data(), grad_second.data(), nullptr);
    CHECK(first == second);
    CHECK(grad_first == grad_second);
  }
}
