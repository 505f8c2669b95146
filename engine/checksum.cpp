#include "engine/checksum.h"

#define XXH_INLINE_ALL  // the header alone: no library to be found at run time
#include <fmt/format.h>
#include <xxhash.h>

namespace voxot {

struct Checksum::State {
  XXH3_state_t xxh;
};

Checksum::Checksum() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->xxh); }

Checksum::~Checksum() = default;

void Checksum::add(std::span<const std::byte> bytes) {
  if (!bytes.empty()) XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}

std::string Checksum::digits() const { return fmt::format("{:016x}", XXH3_64bits_digest(&state_->xxh)); }

}  // namespace voxot
