// Shortest augmenting paths with the initialisation of Jonker and Volgenant: column reduction, reduction
// transfer, augmenting row reduction. Rows of costs are scanned whole, finished columns included, because a
// vector of eight costs less than a list of those left. What is sought by value, least and runner-up, is
// found block by block; its place is then looked for in one block.
#include "kernels/assignment.h"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/cpu/scalar.h"
#include "kernels/features.h"
#include "kernels/sizes.h"

namespace voxot::kernels {
namespace {

using cpu::kParallelGrain;

constexpr std::int64_t kBlock = 128;  // columns
constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Row scans, times n, that each pass of augmenting row reduction may spend. Two rows that bid for two columns
// lower them by little at a time; an augmenting path ends that at once.
constexpr std::int64_t kRowReductionScans = 1;
constexpr int kRowReductionPasses = 2;

struct Least {
  double value, second;  // of cost − column potential; second is infinite where there is one column
  std::int64_t column;   // the first one
};

template <class T>
double least_reduced(const T* cost, const double* potential, std::int64_t count) {
  double least = kInfinity;
#pragma omp simd reduction(min : least)
  for (std::int64_t j = 0; j < count; ++j) {
    const double reduced = static_cast<double>(cost[j]) - potential[j];
    least = reduced < least ? reduced : least;
  }
  return least;
}

/// distance ← min(distance, cost − potential + height), with the row where it falls; returns the least
/// distance.
template <class T>
double relax(const T* cost, const double* potential, double height, std::int32_t row, double* distance,
             std::int32_t* previous, std::int64_t count) {
  double least = kInfinity;
#pragma omp simd reduction(min : least)
  for (std::int64_t j = 0; j < count; ++j) {
    const double through = (static_cast<double>(cost[j]) - potential[j]) + height;
    const double before = distance[j];
    const bool nearer = through < before;
    const double now = nearer ? through : before;
    distance[j] = now;
    previous[j] = nearer ? row : previous[j];
    least = now < least ? now : least;
  }
  return least;
}

/// Solves one problem after another with the same memory.
template <class T>
class AugmentingPaths {
 public:
  explicit AugmentingPaths(std::int64_t n)
      : n_(n),
        row_of_column_(size(n)),
        previous_(size(n)),
        least_row_(size(n)),
        least_cost_(size(n)),
        distance_(size(n)),
        open_potential_(size(n)) {
    finished_distance_.reserve(size(n));
    for (auto* list : {&free_rows_, &still_free_, &free_columns_, &finished_}) list->reserve(size(n));
  }

  void solve(const T* cost, bool initialise, std::int32_t* column_of_row, double* row_potential,
             double* column_potential) {
    cost_ = cost;
    column_of_row_ = column_of_row;
    if (!finite()) {  // a walk over others would not end
      std::iota(column_of_row, column_of_row + n_, 0);
      std::fill_n(row_potential, n_, std::numeric_limits<double>::quiet_NaN());
      std::fill_n(column_potential, n_, std::numeric_limits<double>::quiet_NaN());
      return;
    }
    v_ = column_potential;
    std::fill_n(column_of_row_, n_, -1);
    std::fill_n(v_, n_, 0.0);
    std::fill(row_of_column_.begin(), row_of_column_.end(), -1);
    if (initialise) {
      reduce_columns();
      transfer_reductions();
    }
    collect_free();
    for (int pass = 0; initialise && pass < kRowReductionPasses && n_ > 1; ++pass) reduce_rows();
    collect_free();
    std::copy_n(v_, n_, open_potential_.data());
    for (const std::int32_t row : free_rows_) augment(row);
    for (std::int64_t i = 0; i < n_; ++i) row_potential[i] = least_reduced(this->row(i), v_, n_);
  }

 private:
  static std::size_t size(std::int64_t n) { return to_size(n); }
  [[nodiscard]] const T* row(std::int64_t i) const { return cost_ + i * n_; }
  std::int32_t& row_of(std::int64_t column) { return row_of_column_[size(column)]; }

  [[nodiscard]] bool finite() const {
    std::int64_t bad = 0;
#pragma omp simd reduction(+ : bad)
    for (std::int64_t k = 0; k < n_ * n_; ++k)
      bad += std::abs(static_cast<double>(cost_[k])) <= kLargestAssignedCost ? 0 : 1;
    return bad == 0;
  }

  void assign(std::int32_t row, std::int64_t column) {
    column_of_row_[row] = static_cast<std::int32_t>(column);
    row_of(column) = row;
  }

  /// Every column's potential is its least cost; a row that is the least of several takes one of them.
  void reduce_columns() {
    T* const least = least_cost_.data();
    std::int32_t* const at = least_row_.data();
    std::copy_n(cost_, n_, least);
    std::fill_n(at, n_, 0);
    for (std::int64_t i = 1; i < n_; ++i) {
      const T* const costs = row(i);
      const auto index = static_cast<std::int32_t>(i);
#pragma omp simd
      for (std::int64_t j = 0; j < n_; ++j) {
        const bool less = costs[j] < least[j];
        least[j] = less ? costs[j] : least[j];
        at[j] = less ? index : at[j];
      }
    }
    for (std::int64_t j = n_ - 1; j >= 0; --j) {
      v_[j] = static_cast<double>(least[j]);
      if (column_of_row_[at[j]] < 0) assign(at[j], j);
    }
  }

  /// The slack of a row that has its only least column goes to that column, which becomes dearer to others.
  void transfer_reductions() {
    std::vector<std::int32_t>& columns_of_least = previous_;  // not in use yet
    std::fill(columns_of_least.begin(), columns_of_least.end(), 0);
    for (const std::int32_t i : least_row_) ++columns_of_least[size(i)];
    for (std::int64_t i = 0; i < n_; ++i) {
      if (columns_of_least[size(i)] != 1) continue;
      const std::int32_t j = column_of_row_[i];
      const Least least = two_least(row(i));
      if (least.column == j && least.second < kInfinity) v_[j] -= least.second - least.value;
    }
  }

  /// Every free row takes its cheapest column, whose potential falls until the runner-up is as cheap; the row
  /// that had the column is free instead and goes on at once.
  void reduce_rows() {
    still_free_.clear();
    std::int64_t scans = kRowReductionScans * n_;
    for (std::int32_t i : free_rows_) {
      for (;;) {
        const Least least = two_least(row(i));
        std::int64_t j = least.column;
        const double lowered = v_[j] - (least.second - least.value);
        const bool lowers = lowered < v_[j];
        if (lowers) {
          v_[j] = lowered;
        } else if (row_of(j) >= 0) {
          j = other_least(i, least);
        }
        const std::int32_t displaced = row_of(j);
        assign(i, j);
        if (displaced < 0) break;
        column_of_row_[displaced] = -1;
        if (!lowers || --scans < 0) {
          still_free_.push_back(displaced);
          break;
        }
        i = displaced;
      }
    }
    free_rows_.swap(still_free_);
  }

  Least two_least(const T* costs) const {
    Least found{kInfinity, kInfinity, 0};
    std::int64_t first = 0;
    for (std::int64_t b = 0; b < n_; b += kBlock) {
      const double least = least_reduced(costs + b, v_ + b, std::min(kBlock, n_ - b));
      if (least < found.value) {
        found.second = found.value;
        found.value = least;
        first = b;
      } else if (least < found.second) {
        found.second = least;
      }
    }
    std::int64_t j = first;
    while (static_cast<double>(costs[j]) - v_[j] != found.value) ++j;
    found.column = j;
    const std::int64_t end = std::min(first + kBlock, n_);
    const double before = least_reduced(costs + first, v_ + first, j - first);
    const double after = least_reduced(costs + j + 1, v_ + j + 1, end - j - 1);
    found.second = std::min({found.second, before, after});
    return found;
  }

  /// Of the columns that tie for the least one other than the first.
  std::int64_t other_least(std::int64_t i, const Least& least) const {
    const T* const costs = row(i);
    for (std::int64_t j = least.column + 1; j < n_; ++j) {
      if (static_cast<double>(costs[j]) - v_[j] == least.second) return j;
    }
    return least.column;  // the runner-up is dearer by less than rounding
  }

  void collect_free() {
    free_rows_.clear();
    free_columns_.clear();
    for (std::int64_t k = 0; k < n_; ++k) {
      if (column_of_row_[k] < 0) free_rows_.push_back(static_cast<std::int32_t>(k));
      if (row_of(k) < 0) free_columns_.push_back(static_cast<std::int32_t>(k));
    }
  }

  /// Dijkstra from a free row over reduced costs to the nearest free column; then the potentials of what was
  /// reached, and the swap along the path. Distances are counted from the row's own least reduced cost.
  void augment(std::int32_t start) {
    std::fill(distance_.begin(), distance_.end(), kInfinity);
    finished_.clear();
    finished_distance_.clear();
    std::int32_t i = start;
    double height = -least_reduced(row(start), v_, n_);
    double reached = -kInfinity;
    std::int32_t last = -1;
    while (last < 0) {
      double least = kInfinity;
      std::int64_t block = 0;
      for (std::int64_t b = 0; b < n_; b += kBlock) {
        const double nearest = relax(row(i) + b, open_potential_.data() + b, height, i, distance_.data() + b,
                                     previous_.data() + b, std::min(kBlock, n_ - b));
        if (nearest < least) {
          least = nearest;
          block = b;
        }
      }
      // Of columns at one distance a free one is taken first: ties would else be walked through one by one.
      if (least <= reached || finished_.empty()) last = free_column_within(least);
      reached = least;
      if (last >= 0) break;
      std::int64_t j = block;
      while (distance_[size(j)] != least) ++j;
      if (row_of(j) < 0) {
        last = static_cast<std::int32_t>(j);
        break;
      }
      finished_.push_back(static_cast<std::int32_t>(j));
      finished_distance_.push_back(least);
      distance_[size(j)] = kInfinity;
      open_potential_[size(j)] = -kInfinity;  // no path to it is shorter than infinite
      i = row_of(j);
      height = least - (static_cast<double>(row(i)[j]) - v_[j]);
    }
    for (std::size_t k = 0; k < finished_.size(); ++k) {
      const std::int32_t j = finished_[k];
      v_[j] -= reached - finished_distance_[k];
      open_potential_[size(j)] = v_[j];
    }
    free_columns_.erase(std::find(free_columns_.begin(), free_columns_.end(), last));
    for (std::int32_t j = last;;) {
      const std::int32_t from = previous_[size(j)];
      const std::int32_t next = column_of_row_[from];
      assign(from, j);
      if (from == start) break;
      j = next;
    }
  }

  [[nodiscard]] std::int32_t free_column_within(double distance) const {
    for (const std::int32_t j : free_columns_) {
      if (distance_[size(j)] <= distance) return j;
    }
    return -1;
  }

  std::int64_t n_;
  const T* cost_ = nullptr;
  std::int32_t* column_of_row_ = nullptr;
  double* v_ = nullptr;  // column potentials
  std::vector<std::int32_t> row_of_column_, previous_, least_row_;
  std::vector<T> least_cost_;
  std::vector<double> distance_;        // of each column that is open, infinite where finished
  std::vector<double> open_potential_;  // its potential, −infinite where finished
  std::vector<std::int32_t> free_rows_, still_free_, free_columns_, finished_;
  std::vector<double> finished_distance_;
};

void solve_all(const Stream&, DType dtype, const AssignmentParams& p, const AssignmentArrays& a) {
  const auto run = [&]<class T>() {
    // Memory is taken before the threads part: nothing throws among them.
    const bool many = p.count > 1 && p.count * p.n * p.n > kParallelGrain;
    const auto workers = many ? static_cast<int>(std::min<std::int64_t>(p.count, threads())) : 1;
    std::deque<AugmentingPaths<T>> solvers;
    for (int w = 0; w < workers; ++w) solvers.emplace_back(p.n);
#pragma omp parallel for schedule(dynamic) num_threads(workers) if (many)
    for (std::int64_t k = 0; k < p.count; ++k) {
      solvers[to_size(omp_get_thread_num())].solve(static_cast<const T*>(a.cost) + k * p.n * p.n,
                                                   p.initialise, a.column_of_row + k * p.n,
                                                   a.row_potential + k * p.n, a.column_potential + k * p.n);
    }
  };
  VOXOT_CHECK(dtype != DType::bf16, "assignment: costs are fp32 or fp64, got bf16");
  dtype == DType::f32 ? run.template operator()<float>() : run.template operator()<double>();
}

const Implement assignment_cpu{assignment, Device::cpu, solve_all};

}  // namespace
}  // namespace voxot::kernels
