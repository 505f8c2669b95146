// The emulation of CUDA (kernels/simt/emulation.h) tested by itself: every planted fault is caught and
// named, correct kernels are not accused and compute what they should. The correct kernels run on a real
// device as well.
#include <catch2/catch.hpp>

#include <bit>
#include <cmath>
#include <numeric>

#include "kernels/check.h"
#include "kernels/philox.h"
#include "kernels/simt/runtime.h"
#include "kernels/sizes.h"
#include "tests/cuda_device.h"
#include "tests/emulation_kernels.h"

namespace voxot::testing {
namespace {

using test::no_device;

std::vector<float> numbers(std::size_t count, std::uint64_t step) {
  Random random(7, Purpose::test, step);
  std::vector<float> v(count);
  for (float& x : v) x = random.uniform(-1, 1);
  return v;
}

/// Rounded to `bits` of mantissa after the leading one, to nearest even.
float rounded(float x, int bits) {
  if (x == 0) return 0;
  const float unit = std::ldexp(1.0F, std::ilogb(x) - bits);
  return std::nearbyint(x / unit) * unit;
}

}  // namespace

TEST_CASE("emulation: every planted fault is caught", "[cuda]") {
  if (!simt::emulated()) {
    voxot::test::skip("a real device does not check accesses");
    return;
  }
  for (const PlantedFault& planted : planted_faults()) {
    INFO(planted.name);
    std::string message = "nothing reported";
    try {
      planted.run();
    } catch (const Error& e) {
      message = e.what();
    }
    INFO(message);
    CHECK(message.starts_with("planted: "));
    CHECK(message.find(planted.reported) != std::string::npos);
  }
}

TEST_CASE("simt: transposition through shared memory", "[cuda]") {
  if (no_device()) return;
  const int n = 45;
  const auto x = numbers(n * n, 1);
  const auto y = run_transpose(x, n);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) REQUIRE(y[i * n + j] == x[j * n + i]);
  }
}

TEST_CASE("simt: sums by shuffles, histogram by atomics", "[cuda]") {
  if (no_device()) return;
  const auto x = numbers(1000, 2);
  CHECK(run_block_sum(x) == Approx(std::accumulate(x.begin(), x.end(), 0.0)).margin(1e-4));
  std::vector<int> bins(1000);
  std::vector<int> expected(37);
  for (std::size_t i = 0; i < bins.size(); ++i) {
    bins[i] = static_cast<int>(i * i % 37);
    ++expected[to_size(bins[i])];
  }
  CHECK(run_histogram(bins, 37) == expected);
}

TEST_CASE("simt: asynchronous copies in three stages", "[cuda]") {
  if (no_device()) return;
  for (const std::size_t n : {4, 252, 256, 1300}) {
    const auto x = numbers(n, 3);
    CHECK(run_pipelined_copy(x) == x);
  }
}

TEST_CASE("simt: exchange inside a warp", "[cuda]") {
  if (no_device()) return;
  const auto x = numbers(64, 4);
  const auto y = run_neighbour_exchange(x);
  for (unsigned t = 0; t < 64; ++t) {
    const bool low = t % 32 < 16;
    const float other = x[(t ^ (low ? 3U : 5U)) ^ 1U];
    CHECK(y[t] == (low ? x[t ^ 1U] + other : x[t ^ 1U] - other));
  }
  std::vector<unsigned> words(32);
  for (unsigned i = 0; i < 32; ++i) words[i] = i * i % 5;
  const auto masks = run_match(words);
  for (unsigned i = 0; i < 32; ++i) {
    for (unsigned j = 0; j < 32; ++j) CHECK((masks[i] >> j & 1U) == (words[i] == words[j] ? 1U : 0U));
  }
}

TEST_CASE("simt: tensor-core products through ldmatrix", "[cuda]") {
  if (no_device()) return;
  const auto [kind, bits, name] = GENERATE(table<Mma, int, const char*>(
      {{Mma::bf16, 7, "bf16"}, {Mma::f16, 10, "fp16"}, {Mma::tf32, 10, "tf32"}}));
  const bool transposed = GENERATE(false, true);
  if (kind == Mma::tf32 && transposed) return;
  INFO(name);
  const int k = 48;
  const auto a = numbers(16 * k, 5);
  const auto b = numbers(8 * k, 6);
  const auto d = run_mma(kind, a, b, k, transposed);
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      double sum = 0;
      for (int c = 0; c < k; ++c)
        sum += static_cast<double>(rounded(a[i * k + c], bits)) * rounded(b[j * k + c], bits);
      CHECK(d[i * 8 + j] == Approx(sum).margin(2e-6));  // fp32 sums of 48 products
    }
  }
}

TEST_CASE("simt: a graph is recorded once and launched many times", "[cuda]") {
  if (no_device()) return;
  const auto x = numbers(100, 8);
  const auto y = run_graph(x, 3);
  for (std::size_t i = 0; i < x.size(); ++i) CHECK(y[i] == ((x[i] + 1) + 2) + 3);
}

TEST_CASE("simt: a recording takes no memory, no wait and no pageable copy, and is not lost by it",
          "[cuda]") {
  if (no_device()) return;
  const auto refused = [](const std::string& why, const auto& call) {
    CHECK_THROWS_WITH(call(), "cuda: a graph is being recorded: " + why);
  };
  const std::size_t more = std::size_t{1} << 33;  // than scratch memory has grown to
  const Stream stream{Device::cuda, simt::create_stream()};
  void* block = simt::allocate(64);
  auto* pinned = static_cast<float*>(simt::allocate_pinned(64));
  std::fill_n(pinned, 16, 2.0F);
  std::vector<float> host(16);
  const simt::Event event;
  simt::Graph::begin(stream);
  refused("no memory can be asked for", [] { simt::allocate(64); });
  refused("no memory can be asked for", [] { simt::allocate_pinned(64); });
  refused("no memory can be asked for", [&] { simt::scratch(more); });
  refused("the host cannot wait", [&] { simt::synchronize(stream); });
  refused("the host cannot wait", [&] { event.wait(); });
  refused("only page-locked host memory can be copied", [&] { simt::copy(stream, host.data(), block, 64); });
  refused("only page-locked host memory can be copied", [&] { simt::copy(stream, block, host.data(), 64); });
  simt::copy(stream, block, pinned, 64);
  const simt::Graph graph = simt::Graph::end(stream);
  CHECK(graph.nodes() == 1);
  graph.launch(stream);
  simt::copy(stream, host.data(), block, 64);
  simt::synchronize(stream);
  CHECK(host == std::vector<float>(16, 2.0F));
  simt::free(block);
  simt::free_pinned(pinned);
  simt::destroy_stream(stream.handle);
}

TEST_CASE("simt: a device of another major or an older minor runs no code", "[cuda]") {
  const int built[] = {800, 900};
  CHECK(simt::has_code(built, 8, 0));
  CHECK(simt::has_code(built, 8, 9));
  CHECK(simt::has_code(built, 9, 0));
  CHECK_FALSE(simt::has_code(built, 7, 5));
  CHECK_FALSE(simt::has_code(built, 10, 0));
  CHECK_FALSE(simt::has_code(built, 12, 0));
  const int newer[] = {860};
  CHECK_FALSE(simt::has_code(newer, 8, 0));
}

TEST_CASE("simt: a refused launch leaves nothing for the next one", "[cuda][refused]") {
  if (no_device()) return;
  CHECK_THROWS_WITH(run_with_shared(std::size_t{16} << 20), Catch::Contains("nothing"));
  CHECK_NOTHROW(run_with_shared(1024));
}

}  // namespace voxot::testing
