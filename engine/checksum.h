#pragma once
// XXH3 (64 bits, https://xxhash.com) of bytes that come in pieces: finds damage at the speed of memory, and
// is no protection against intent.
#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace voxot {

/// The checksum of a sequence of bytes.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;

  /// The next bytes of the sequence.
  void add(std::span<const std::byte> bytes);
  /// Of all that was added: 16 hexadecimal digits in lower case, as `xxhsum -H3` prints them.
  [[nodiscard]] std::string digits() const;
  static constexpr std::size_t kDigits = 16;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace voxot
