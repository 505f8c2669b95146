// kernels/conv3d.h on the device: which variant runs a call.
#include "kernels/conv3d.h"

#include "kernels/cuda/conv3d/autotune.h"
#include "kernels/features.h"

namespace voxot::cuda {
namespace {

bool always(const ConvCall&) { return true; }

const ConvVariant kGather[] = {
    {"naive", always, conv3d_naive},
    {"tiled_64x64", takes_tiled, conv3d_tiled_64x64},
    {"tiled_128x64", takes_tiled, conv3d_tiled_128x64},
    {"row_products", takes_row_products, conv3d_row_products},
    {"implicit_gemm_64x64", takes_implicit_gemm, conv3d_implicit_gemm_64x64},
    {"implicit_gemm_128x16", takes_implicit_gemm, conv3d_implicit_gemm_128x16},
    {"implicit_gemm_128x32", takes_implicit_gemm, conv3d_implicit_gemm_128x32},
    {"implicit_gemm_128x64", takes_implicit_gemm, conv3d_implicit_gemm_128x64},
    {"implicit_gemm_128x128", takes_large_implicit_gemm, conv3d_implicit_gemm_128x128},
    {"cudnn", takes_cudnn, conv3d_cudnn},
};
const ConvVariant kGradWeight[] = {
    {"naive", always, conv3d_naive},
    {"tiled_64x64", takes_tiled, conv3d_tiled_64x64},
    {"tiled_128x64", takes_tiled, conv3d_tiled_128x64},
    {"implicit_gemm_32x128", takes_implicit_gemm, conv3d_weight_gemm_32x128},
    {"implicit_gemm_64x128", takes_implicit_gemm, conv3d_weight_gemm_64x128},
    {"implicit_gemm_128x128", takes_large_implicit_gemm, conv3d_weight_gemm_128x128},
    {"cudnn", takes_cudnn, conv3d_cudnn},
};

std::string& forced() {
  static std::string name;
  return name;
}

}  // namespace

std::span<const ConvVariant> variants(ConvPass pass) {
  if (pass == ConvPass::grad_weight) return kGradWeight;
  return kGather;
}

const ConvVariant& variant_named(const std::string& name, const ConvCall& call) {
  for (const ConvVariant& v : variants(call.pass)) {
    if (name != v.name) continue;
    VOXOT_CHECK(v.takes(call), "conv3d: variant {} does not take this {}", name, name_of(call.pass));
    return v;
  }
  fail("conv3d: no variant {} of {}", name, name_of(call.pass));
}

void force_variant(const std::string& name) { forced() = name; }

void run(const Stream& stream, const ConvCall& call) {
  const ConvVariant& v = forced().empty() ? choose(stream, call) : variant_named(forced(), call);
  v.run(stream, call);
}

}  // namespace voxot::cuda

namespace voxot::kernels {
namespace {

using cuda::ConvCall;
using cuda::ConvMath;
using cuda::ConvPass;

ConvMath math() { return tf32() ? ConvMath::tf32 : ConvMath::exact; }

const Implement registered[] = {
    {conv3d_forward, Device::cuda,
     [](const Stream& stream, DType dtype, const Conv3dParams& params, const Conv3dForward& f) {
       cuda::run(stream, {ConvPass::forward, dtype, math(), params, f.x, f.weight, f.y, f.epilogue,
                          Write::overwrite});
     }},
    {conv3d_grad_input, Device::cuda,
     [](const Stream& stream, DType dtype, const Conv3dParams& params, const Conv3dGradInput& g) {
       cuda::run(stream, {ConvPass::grad_input,
                          dtype,
                          math(),
                          params,
                          g.grad_y,
                          g.weight,
                          g.grad_x,
                          {.scale = g.scale},
                          g.write});
     }},
    {conv3d_grad_weight, Device::cuda,
     [](const Stream& stream, DType dtype, const Conv3dParams& params, const Conv3dGradWeight& g) {
       cuda::run(stream, {ConvPass::grad_weight,
                          dtype,
                          math(),
                          params,
                          g.x,
                          g.grad_y,
                          g.grad_weight,
                          {.scale = g.scale},
                          g.write});
       if (g.grad_bias != nullptr) cuda::conv3d_grad_bias(stream, dtype, params, g);
     }},
};

}  // namespace
}  // namespace voxot::kernels
