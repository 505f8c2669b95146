#pragma once
// The variants of each convolution pass, among which conv3d.cu chooses. A variant is named by its technique
// and computes the whole pass: what the contract in kernels/conv3d.h says, epilogue included.
#include <span>
#include <string>

#include "kernels/conv3d.h"

namespace voxot::cuda {

enum class ConvPass : std::uint8_t { forward, grad_input, grad_weight };
constexpr const char* name_of(ConvPass pass) {
  return pass == ConvPass::forward ? "forward" : pass == ConvPass::grad_input ? "grad_input" : "grad_weight";
}

/// How fp32 storage is multiplied: in fp32, or rounded to tf32 on tensor cores.
enum class ConvMath : std::uint8_t { exact, tf32 };

/// One call of a pass. `input` is x (forward, grad_weight) or grad_y (grad_input); `other` is the weight, or
/// grad_y for grad_weight.
struct ConvCall {
  ConvPass pass = ConvPass::forward;
  DType dtype = DType::f32;
  ConvMath math = ConvMath::exact;
  Conv3dParams params;
  const void* input = nullptr;
  const void* other = nullptr;
  void* output = nullptr;
  Conv3dEpilogue epilogue;  // forward; for the gradients its scale alone
  Write write = Write::overwrite;
};

struct ConvVariant {
  const char* name;
  /// Whether it computes this call, and correctly so.
  bool (*takes)(const ConvCall&);
  void (*run)(const Stream&, const ConvCall&);
};

/// "cuDNN 9.14.0", empty where the variant cudnn takes nothing.
std::string describe_cudnn();

/// Every variant of a pass, the naive one first.
std::span<const ConvVariant> variants(ConvPass pass);

/// The variant with this name. Throws Error when there is none, or when it does not take the call.
const ConvVariant& variant_named(const std::string& name, const ConvCall& call);

/// Runs the call by the variant that is forced, else by the one that the autotuner has chosen.
void run(const Stream& stream, const ConvCall& call);

/// Forces a variant by name in every pass that has it, for tests and benchmarks; "" gives the choice back.
void force_variant(const std::string& name);

// The variants, each in a file of its own.
void conv3d_naive(const Stream& stream, const ConvCall& call);
// All passes in fp32, by tiles of rows × columns of the result.
bool takes_tiled(const ConvCall& call);
void conv3d_tiled_64x64(const Stream& stream, const ConvCall& call);
void conv3d_tiled_128x64(const Stream& stream, const ConvCall& call);
// Forward of 1³ kernels to at most eight channels in fp32, a block for each result.
bool takes_row_products(const ConvCall& call);
void conv3d_row_products(const Stream& stream, const ConvCall& call);
// Forward and grad_input on tensor cores, by tiles of rows × columns of the result.
bool takes_implicit_gemm(const ConvCall& call);
bool takes_large_implicit_gemm(const ConvCall& call);
void conv3d_implicit_gemm_128x128(const Stream& stream, const ConvCall& call);
void conv3d_implicit_gemm_128x64(const Stream& stream, const ConvCall& call);
void conv3d_implicit_gemm_128x32(const Stream& stream, const ConvCall& call);
void conv3d_implicit_gemm_128x16(const Stream& stream, const ConvCall& call);
void conv3d_implicit_gemm_64x64(const Stream& stream, const ConvCall& call);
// grad_weight on tensor cores, by tiles of output channels × kernel elements.
void conv3d_weight_gemm_128x128(const Stream& stream, const ConvCall& call);
void conv3d_weight_gemm_64x128(const Stream& stream, const ConvCall& call);
void conv3d_weight_gemm_32x128(const Stream& stream, const ConvCall& call);
// All passes by cuDNN, where its library is found and has an engine for the call.
bool takes_cudnn(const ConvCall& call);
void conv3d_cudnn(const Stream& stream, const ConvCall& call);
/// The rival of the benchmarks: cuDNN's fastest engine, be it one whose sums come in another order each time.
/// The engine never chooses it.
const ConvVariant& fastest_cudnn();
/// The forward pass's epilogue over plain sums in the call's output, without statistics; fp32 and bf16.
void conv3d_epilogue(const Stream& stream, const ConvCall& call);
/// The statistics that the call asks for, if any, of its output in memory.
void conv3d_statistics(const Stream& stream, const ConvCall& call);
/// grad_bias[q] ← or += scale·Σ grad_y over the voxels.
void conv3d_grad_bias(const Stream& stream, DType dtype, const Conv3dParams& params,
                      const Conv3dGradWeight& gradients);

}  // namespace voxot::cuda
