#include "engine/event_writer.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>
#include <system_error>

#include "engine/events.pb.h"
#include "kernels/check.h"

namespace voxot {
namespace {

static_assert(std::endian::native == std::endian::little, "frames are written as they lie in memory");

constexpr std::array<std::uint32_t, 256> crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78U : 0U);
    }
    table[i] = value;
  }
  return table;
}

// TFRecord's mask: the CRC of data that itself holds CRCs would be weak.
std::uint32_t masked_crc(std::string_view text) {
  const std::uint32_t crc = crc32c(std::as_bytes(std::span(text)));
  return std::rotr(crc, 15) + 0xA282EAD8U;
}

template <class T>
void append(std::string& to, T value) {
  std::array<char, sizeof(T)> bytes;
  std::memcpy(bytes.data(), &value, sizeof(T));
  to.append(bytes.data(), bytes.size());
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// TensorBoard reads the files of a folder in the order of their names, so each is named after a later second
// than those that are there.
std::filesystem::path next_name(const std::filesystem::path& folder) {
  constexpr std::string_view kPrefix = "events.out.tfevents.";
  auto seconds = static_cast<std::int64_t>(seconds_since_1970());
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    std::int64_t earlier = 0;
    const char* const digits = name.data() + kPrefix.size();
    const auto [end, error] = std::from_chars(digits, name.data() + name.size(), earlier);
    const bool stamp = error == std::errc() && end - digits == 10;
    if (stamp) seconds = std::max(seconds, earlier + 1);
  }
  return folder / fmt::format("{}{:010}.voxot.{}", kPrefix, seconds, ::getpid());
}

events::Event event_at(std::int64_t step) {
  events::Event event;
  event.set_wall_time(seconds_since_1970());
  event.set_step(step);
  return event;
}

}  // namespace

std::uint32_t crc32c(std::span<const std::byte> bytes) {
  static constexpr auto kTable = crc_table();
  std::uint32_t crc = ~0U;
  for (const std::byte byte : bytes) {
    crc = (crc >> 8) ^ kTable[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xFF];
  }
  return ~crc;
}

std::string tf_record(std::string_view payload) {
  std::string record;
  record.reserve(payload.size() + 16);
  append(record, static_cast<std::uint64_t>(payload.size()));
  append(record, masked_crc(record));
  record.append(payload);
  append(record, masked_crc(payload));
  return record;
}

EventWriter::EventWriter(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  VOXOT_CHECK(std::filesystem::is_directory(folder), "event writer: cannot create the folder {}: {}",
              folder.string(), error ? error.message() : "a file of this name is there");
  path_ = next_name(folder);
  file_.open(path_, std::ios::binary);
  VOXOT_CHECK(file_.is_open(), "event writer: cannot create {}: {}", path_.string(), std::strerror(errno));
  events::Event event = event_at(0);
  event.set_file_version("brain.Event:2");
  write(event.SerializeAsString());
  flush();
}

void EventWriter::begin_at(std::int64_t step) {
  events::Event event = event_at(step);
  event.mutable_session_log()->set_status(events::SessionLog::START);
  write(event.SerializeAsString());
}

void EventWriter::scalar(const std::string& tag, double value, std::int64_t step) {
  events::Event event = event_at(step);
  events::Summary::Value* entry = event.mutable_summary()->add_value();
  entry->set_tag(tag);
  entry->set_simple_value(static_cast<float>(value));
  write(event.SerializeAsString());
}

void EventWriter::image(const std::string& tag, std::span<const std::byte> png, int width, int height,
                        std::int64_t step) {
  VOXOT_CHECK(width > 0 && height > 0 && !png.empty(),
              "event writer: expected an image, got {}x{} pixels in {} bytes", width, height, png.size());
  events::Event event = event_at(step);
  events::Summary::Value* entry = event.mutable_summary()->add_value();
  entry->set_tag(tag);
  entry->mutable_image()->set_width(width);
  entry->mutable_image()->set_height(height);
  entry->mutable_image()->set_colorspace(3);
  entry->mutable_image()->set_encoded_image_string(png.data(), png.size());
  write(event.SerializeAsString());
}

void EventWriter::flush() {
  file_.flush();
  VOXOT_CHECK(file_.good(), "event writer: cannot write {}: {}", path_.string(), std::strerror(errno));
}

void EventWriter::write(std::string_view payload) {
  const std::string record = tf_record(payload);
  file_.write(record.data(), static_cast<std::streamsize>(record.size()));
  VOXOT_CHECK(file_.good(), "event writer: cannot write {}: {}", path_.string(), std::strerror(errno));
}

}  // namespace voxot
