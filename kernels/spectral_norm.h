#pragma once
// Spectral normalisation of a matrix W [rows, columns]: y = W/σ with σ = uᵀ·W·v, an estimate of W's largest
// singular value. u [rows] and v [columns] are its singular vectors, followed from step to step.
//   iterate   u ← W·v/max(‖W·v‖, ε);  v ← Wᵀ·u/max(‖Wᵀ·u‖, ε)
//   backward  grad_W = (grad_y − ⟨grad_y, y⟩·u·vᵀ)/σ, with u and v constant
// fp32 or fp64; sums are in double, in an order that only the shape decides.
// Source: Miyato, Kataoka, Koyama, Yoshida, ICLR 2018 (arXiv 1802.05957), in the order and with the ε of
// torch.nn.utils.parametrizations.spectral_norm.
#include "kernels/kernel.h"

namespace voxot {

/// The matrix's extents, and ε.
struct SpectralNormParams {
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  double epsilon = 1e-12;
};

namespace kernels {

/// One power iteration (dtype, params, W, u, v); u and v are overwritten.
inline constinit Kernel<void(DType, const SpectralNormParams&, const void*, void*, void*)>
    spectral_norm_iterate{"spectral_norm_iterate"};

struct SpectralNormForward {
  const void* weight;
  const void* u;
  const void* v;
  void* sigma;
  void* y;
};
/// σ and y.
inline constinit Kernel<void(DType, const SpectralNormParams&, const SpectralNormForward&)>
    spectral_norm_forward{"spectral_norm_forward"};

struct SpectralNormGradients {
  const void* y;
  const void* u;
  const void* v;
  const void* sigma;
  const void* grad_y;
  void* grad_weight;
  Write write = Write::overwrite;
};
/// grad_weight ← or += the gradient above.
inline constinit Kernel<void(DType, const SpectralNormParams&, const SpectralNormGradients&)>
    spectral_norm_backward{"spectral_norm_backward"};

}  // namespace kernels
}  // namespace voxot
