#pragma once
// TensorBoard event files: TFRecord frames of the protobuf messages of events.proto.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>

namespace voxot {

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4).
std::uint32_t crc32c(std::span<const std::byte> bytes);

/// A TFRecord: the length (uint64), its masked CRC, the payload, its masked CRC; little endian.
std::string tf_record(std::string_view payload);

/// Appends to one new event file in a run's folder. A resumed run starts another file beside it and says
/// where it begins, by which TensorBoard reads them as one history. Everything throws Error when the file
/// cannot be written.
class EventWriter {
 public:
  /// Creates the folder where it is missing, and in it `events.out.tfevents.SECONDS.voxot.PID`, where SECONDS
  /// are those since 1970, or one more than those of the latest such file.
  explicit EventWriter(const std::filesystem::path& folder);

  /// What follows replaces all that earlier files hold of `step` and later (SessionLog START).
  void begin_at(std::int64_t step);
  void scalar(const std::string& tag, double value, std::int64_t step);
  /// `png`: a whole PNG file of width × height pixels.
  void image(const std::string& tag, std::span<const std::byte> png, int width, int height,
             std::int64_t step);
  void flush();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  void write(std::string_view payload);

  std::filesystem::path path_;
  std::ofstream file_;
};

}  // namespace voxot
