#pragma once
// Which vectors the CPU kernels use. A build for x86-64-v3 (the default on x86-64) holds them twice, compiled
// for AVX2 and for AVX-512, and takes the wider ones where the processor has them; every other build holds
// them once.
#include <cstdint>

namespace voxot::kernels {

/// Vectors of a processor, narrower before wider.
enum class InstructionSet : std::uint8_t { generic, neon, avx2, avx512 };

/// What the including source is compiled for.
#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
inline static constexpr InstructionSet kCompiledFor = InstructionSet::avx512;
#elif defined(__AVX2__) && defined(__FMA__)
inline static constexpr InstructionSet kCompiledFor = InstructionSet::avx2;
#elif defined(__ARM_NEON)
inline static constexpr InstructionSet kCompiledFor = InstructionSet::neon;
#else
inline static constexpr InstructionSet kCompiledFor = InstructionSet::generic;
#endif

/// What the CPU kernels of this process use: the widest that the processor and the build have, or the one
/// that the environment names (VOXOT_CPU=avx2 or avx512; empty or auto choose). oneDNN is held to the same.
/// Throws UsageError where VOXOT_CPU names what this processor or this build has not.
InstructionSet instruction_set();

/// "AVX2", "AVX-512", "NEON" or "generic".
const char* name_of(InstructionSet set);

}  // namespace voxot::kernels
