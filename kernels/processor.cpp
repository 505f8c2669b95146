#include "kernels/processor.h"

#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>

#include "kernels/check.h"

// Static initialisers of the kernels that are compiled for AVX-512: kernels/CMakeLists.txt puts them into a
// section of their own, because on a processor without AVX-512 nothing of them may run. The linker gives its
// bounds.
using Initialiser = void (*)();
extern "C" {
[[gnu::weak, gnu::visibility("hidden")]] extern const Initialiser __start_voxot_avx512_initialisers[];
[[gnu::weak, gnu::visibility("hidden")]] extern const Initialiser __stop_voxot_avx512_initialisers[];
}

namespace voxot::kernels {
namespace {

struct Choice {
  InstructionSet set = kCompiledFor;
  std::string refused;
};

bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("x86-64-v4");
#else
  return false;
#endif
}

bool built_for(InstructionSet set) {
  if (set == InstructionSet::avx512 && kCompiledFor < set)
    return __start_voxot_avx512_initialisers != nullptr;
  return set == kCompiledFor;
}

Choice choose() {
  const char* const variable = std::getenv("VOXOT_CPU");
  const std::string word = variable == nullptr ? "" : variable;
  Choice choice;
  if (has_avx512() && built_for(InstructionSet::avx512)) choice.set = InstructionSet::avx512;
  if (word == "avx2" || word == "avx512") {
    const InstructionSet asked = word == "avx2" ? InstructionSet::avx2 : InstructionSet::avx512;
    if (!built_for(asked)) {
      choice.refused =
          fmt::format("VOXOT_CPU={}: this build has kernels for {} alone", word, name_of(kCompiledFor));
    } else if (asked > choice.set) {
      choice.refused = fmt::format("VOXOT_CPU={}: this processor has no {}", word, name_of(asked));
    } else {
      choice.set = asked;
    }
  } else if (!word.empty() && word != "auto") {
    choice.refused = fmt::format("VOXOT_CPU is avx2, avx512 or auto, got \"{}\"", word);
  }
  if (choice.set == InstructionSet::avx512 && kCompiledFor < InstructionSet::avx512) {
    for (const Initialiser* run = __start_voxot_avx512_initialisers; run != __stop_voxot_avx512_initialisers;
         ++run)
      (*run)();
  }
  if (choice.set == InstructionSet::avx2) dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2);
  return choice;
}

// Before main, so that whoever calls a kernel first finds the chosen one.
const Choice chosen = choose();

}  // namespace

InstructionSet instruction_set() {
  if (!chosen.refused.empty()) fail_usage("{}", chosen.refused);
  return chosen.set;
}

const char* name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::neon:
      return "NEON";
    case InstructionSet::avx2:
      return "AVX2";
    case InstructionSet::avx512:
      return "AVX-512";
    case InstructionSet::generic:
      break;
  }
  return "generic";
}

}  // namespace voxot::kernels
