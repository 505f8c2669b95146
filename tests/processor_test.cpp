#include "kernels/processor.h"

#include <array>
#include <cstdlib>

#include "kernels/activation.h"
#include "kernels/cpu/conv3d/winograd.h"
#include "kernels/features.h"
#include "kernels/sinkhorn.h"
#include "tests/command.h"
#include "tests/skip.h"

using namespace voxot;
using kernels::InstructionSet;

namespace {

std::string info() {
  const test::TempDirectory directory;
  const test::Command command(directory.path(), {"info", "--device", "cpu"});
  CHECK(command.wait() == 0);
  return command.out();
}

/// The first line of `text` that begins with `key`.
std::string line_of(const std::string& text, const std::string& key) {
  const std::size_t at = text.find("\n" + key);
  return at == std::string::npos ? "" : text.substr(at + 1, text.find('\n', at + 1) - at - 1);
}

}  // namespace

TEST_CASE("processor: the kernels in use are those of the instruction set in use", "[processor]") {
  const InstructionSet set = kernels::instruction_set();
  const char* const asked = std::getenv("VOXOT_CPU");
  if (asked != nullptr && std::string(asked) == "avx2") CHECK(set == InstructionSet::avx2);
  if (set != InstructionSet::avx512) CHECK_FALSE(kernels::cpu_has_bf16());
  CHECK(kernels::describe_cpu().find(name_of(set)) != std::string::npos);
  CHECK(kernels::conv3d_winograd_forward.compiled_for(Device::cpu) == set);
  CHECK(kernels::sinkhorn.compiled_for(Device::cpu) == set);
  CHECK(kernels::activation_forward.compiled_for(Device::cpu) == set);
}

TEST_CASE("processor: VOXOT_CPU chooses the instruction set of the command", "[processor][command]") {
  const InstructionSet here = [] {
    const test::ProcessorChoice chosen("auto");
    return line_of(info(), "cpu").find("AVX-512") != std::string::npos ? InstructionSet::avx512
                                                                       : kernels::kCompiledFor;
  }();
  const test::TempDirectory directory;
  {
    const test::ProcessorChoice chosen("sse");
    test::check_fails(directory.path(), {"info"}, 2, "VOXOT_CPU is avx2, avx512 or auto, got \"sse\"\n");
  }
  if (kernels::kCompiledFor != InstructionSet::avx2) {
    const test::ProcessorChoice chosen(kernels::kCompiledFor == InstructionSet::avx512 ? "avx2" : "avx512");
    return test::check_fails(directory.path(), {"info"}, 2, "this build has kernels for");
  }
  {
    const test::ProcessorChoice chosen("avx2");
    const std::string text = info();
    CHECK(line_of(text, "cpu").find("AVX2") != std::string::npos);
    CHECK(line_of(text, "cpu").find("AVX-512") == std::string::npos);
    CHECK(line_of(text, "precision") == "precision  fp32");
  }
  const test::ProcessorChoice chosen("avx512");
  if (here == InstructionSet::avx512) {
    CHECK(line_of(info(), "cpu").find("AVX-512") != std::string::npos);
  } else {
    test::check_fails(directory.path(), {"info"}, 2, "this processor has no AVX-512");
  }
}

TEST_CASE("processor: bf16 without products of bf16 trains after one warning", "[processor][command]") {
  if (kernels::kCompiledFor != InstructionSet::avx2) {
    test::skip("a build for one instruction set");
    return;
  }
  const test::ProcessorChoice chosen("avx2");
  const test::TempDirectory directory;
  const test::fs::path folder = test::tiny_folder(directory, "work");
  const test::Command command(
      folder, {"train", "tiny.toml", "--out", "run", "--precision", "bf16", "--set", "solver.steps=2"});
  CHECK(command.wait() == 0);
  const std::string err = command.err();
  const std::size_t at = err.find("voxot: warning: this processor has no products of bf16");
  CAPTURE(err);
  REQUIRE(at != std::string::npos);
  CHECK(err.find("voxot: warning:", at + 1) == std::string::npos);
}
