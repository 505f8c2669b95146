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
     [](const Stream& stream, DType dtype, const Conv3dParams& params, const void* x, const void* weight,
        const Conv3dEpilogue& epilogue, void* y) {
       cuda::run(stream,
                 {ConvPass::forward, dtype, math(), params, x, weight, y, epilogue, Write::overwrite});
     }},
    {conv3d_grad_input, Device::cuda,
     [](const Stream& stream, DType dtype, const Conv3dParams& params, const void* grad_y, const void* weight,
        float scale, void* grad_x, Write write) {
       Conv3dEpilogue epilogue;
       epilogue.scale = scale;
       cuda::run(stream,
                 {ConvPass::grad_input, dtype, math(), params, grad_y, weight, grad_x, epilogue, write});
     }},
    {conv3d_grad_weight, Device::cuda,
     [](const Stream& stream, DType dtype, const Conv3dParams& params, const void* x, const void* grad_y,
        float scale, void* grad_weight, void* grad_bias, Write write) {
       Conv3dEpilogue epilogue;
       epilogue.scale = scale;
       cuda::run(stream,
                 {ConvPass::grad_weight, dtype, math(), params, x, grad_y, grad_weight, epilogue, write});
       if (grad_bias != nullptr) {
         cuda::conv3d_grad_bias(stream, dtype, params.batch * params.out_voxels(), params.out_channels,
                                grad_y, scale, grad_bias, write);
       }
     }},
};

}  // namespace
}  // namespace voxot::kernels
