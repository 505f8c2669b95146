#pragma once
// Kernels for the emulation's own tests: each planted fault by name, and correct ones that use the same
// features.
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace voxot::testing {

struct PlantedFault {
  std::string name;
  std::string reported;  // a part of the message that it must cause
  std::function<void()> run;
};
std::vector<PlantedFault> planted_faults();

// The correct kernels return what they computed.
std::vector<float> run_transpose(std::span<const float> matrix, int n);
float run_block_sum(std::span<const float> values);
std::vector<int> run_histogram(std::span<const int> bins, int count);
std::vector<float> run_pipelined_copy(std::span<const float> values);
std::vector<float> run_neighbour_exchange(std::span<const float> values);
std::vector<unsigned> run_match(std::span<const unsigned> words);
enum class Mma { bf16, f16, tf32 };
/// 16×n·n×8 through ldmatrix (16 bits) or plain loads; `transposed` reads A by the transposed ldmatrix.
std::vector<float> run_mma(Mma kind, std::span<const float> a, std::span<const float> b, int k,
                           bool transposed);
/// Launches a kernel that does nothing with so much dynamic shared memory.
void run_with_shared(std::size_t bytes);
std::vector<float> run_graph(std::span<const float> values, int launches);

}  // namespace voxot::testing
