#pragma once
// One Sinkhorn problem on the CPU: what its passes share. A source gives rows of the cost matrix, from memory
// or computed from features. Rows are split into chunks by the problem's size alone, and partial sums are
// joined in order, so neither the thread count nor the batch around it changes a bit of a problem's answer.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/transport/cost_tile.h"
#include "kernels/sinkhorn.h"
#include "kernels/sizes.h"

namespace voxot::cpu::sinkhorn {

/// Stands for log 0 where a difference of two of them must not be NaN.
inline constexpr double kNever = -1e300;

template <class T>
struct MatrixRows {
  using Value = T;
  static constexpr bool kStored = true;
  static constexpr std::int64_t kBlock = 8;

  const T* cost;
  std::int64_t columns;

  const T* rows(std::int64_t first, std::int64_t, std::vector<T>&) const { return cost + first * columns; }
};

template <class T>
struct FeatureRows {
  using Value = T;
  static constexpr bool kStored = false;
  /// Rows of a product: enough that y, read once for each block, is not what the pass waits for.
  static constexpr std::int64_t kBlock = 32;

  CostTiles<T> tiles;
  std::int64_t columns;

  const T* rows(std::int64_t first, std::int64_t count, std::vector<T>& scratch) const {
    scratch.resize(to_size(kBlock * columns));
    tiles.rows(first, count, scratch.data());
    return scratch.data();
  }
};

struct Problem {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const double* a = nullptr;
  const double* b = nullptr;
  double* f = nullptr;
  double* g = nullptr;
  SinkhornParams params;
  bool symmetric = false;  // the symmetric update
  double epsilon = 0;
  double mass_a = 0;
  double mass_b = 0;
  bool empty_points = false;  // some weight is 0
  double least_weight = 0;    // of those above 0
  std::vector<double> log_a;  // −inf where a weight is 0
  std::vector<double> log_b;

  Problem(std::int64_t n, std::int64_t m, const SinkhornParams& p, const kernels::SinkhornSides& sides);

  [[nodiscard]] std::int64_t chunks() const {
    return std::clamp<std::int64_t>(std::min(rows * columns >> 17, rows / 16), 1, 32);
  }
  [[nodiscard]] std::int64_t chunk_begin(std::int64_t chunk) const {
    return rows * chunk / chunks() / 16 * 16;
  }
  [[nodiscard]] std::int64_t chunk_end(std::int64_t chunk) const {
    return chunk + 1 == chunks() ? rows : chunk_begin(chunk + 1);
  }
  /// What a potential's fresh value is multiplied by: 1 for a hard marginal.
  [[nodiscard]] double lambda_a() const { return lambda(params.rho_a); }
  [[nodiscard]] double lambda_b() const { return lambda(params.rho_b); }
  /// What optimality asks of a marginal, as a share of its weight.
  [[nodiscard]] static double wanted(double potential, double rho) {
    return std::isinf(rho) ? 1.0 : std::exp(-potential / rho);
  }

 private:
  [[nodiscard]] double lambda(double rho) const { return std::isinf(rho) ? 1.0 : rho / (rho + epsilon); }
};

/// Calls body(first row, rows, costs, chunk) for blocks of all rows: chunks over threads, in order within
/// one.
template <class Source, class Body>
void for_blocks(const Problem& p, const Source& source, const Body& body) {
  const std::int64_t chunks = p.chunks();
#pragma omp parallel for schedule(dynamic) if (chunks > 1)
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    static thread_local std::vector<typename Source::Value> scratch;
    const std::int64_t end = p.chunk_end(chunk);
    for (std::int64_t i = p.chunk_begin(chunk); i < end; i += Source::kBlock) {
      const std::int64_t count = std::min(Source::kBlock, end - i);
      body(i, count, source.rows(i, count, scratch), chunk);
    }
  }
}

/// What a log-domain pass changes.
enum class Update : std::uint8_t {
  all,           // f, then g from the new f
  empty_points,  // only potentials of points without weight
};

/// One iteration in the log domain, right for every ε. `relaxed`: over-relaxation is allowed. Returns the L1
/// error of the marginals under the new f and the old g.
template <class Source>
double log_pass(Problem& p, const Source& source, Update update, bool relaxed);

/// f ← ½(f + f_new) in the log domain, from the g of before; g = f. Returns the L1 error of the marginals
/// that g had.
template <class Source>
double symmetric_pass(Problem& p, const Source& source);

/// The iteration that the problem asks for.
template <class Source>
double iterate_once(Problem& p, const Source& source, bool relaxed) {
  return p.symmetric ? symmetric_pass(p, source) : log_pass(p, source, Update::all, relaxed);
}

/// ε of the costs: resolves a relative one.
template <class Source>
double resolve_epsilon(const Problem& p, const Source& source, double* largest);

/// The marginal error and the certificate, in double (sinkhorn_certificate.cpp).
template <class Source>
void certify(const Problem& p, const Source& source, SinkhornStatus& status);

/// Iterations, most of them by stabilised scaling, until the error in passing is at most `tolerance` times
/// the mass or `iterations` has reached `limit` (sinkhorn_scaling.cpp).
template <class T>
void scaling_iterations(Problem& p, const MatrixRows<T>& source, double tolerance, std::int64_t limit,
                        std::int64_t& iterations);

/// The shift t of f + t, g − t, which leaves the plan alone, that is best for relaxed marginals: iterations
/// find it at the rate ρ/(ρ + ε) only (Séjourné, Vialard, Peyré, AISTATS 2022). The masses are Σ
/// a·exp(−f/ρ_a) and Σ b·exp(−g/ρ_b).
inline double best_shift(const SinkhornParams& p, double mass_f, double mass_g) {
  if (p.hard() || !(mass_f > 0 && mass_g > 0 && std::isfinite(mass_f) && std::isfinite(mass_g))) return 0;
  return std::log(mass_f / mass_g) / (1 / p.rho_a + 1 / p.rho_b);
}

}  // namespace voxot::cpu::sinkhorn
