// TensorBoard event files: the checksum, the framing, and the messages read back.
#include "engine/event_writer.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/events.pb.h"
#include "kernels/check.h"
#include "tests/temp_directory.h"

using namespace voxot;

namespace {

std::uint32_t crc_of(std::string_view text) { return crc32c(std::as_bytes(std::span(text))); }

template <class T>
T number_at(const std::string& bytes, std::size_t offset) {
  REQUIRE(offset + sizeof(T) <= bytes.size());
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

// The mask of TFRecord, undone.
std::uint32_t unmask(std::uint32_t masked) {
  const std::uint32_t rotated = masked - 0xA282EAD8U;
  return (rotated >> 17) | (rotated << 15);
}

std::vector<events::Event> read_events(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::vector<events::Event> result;
  for (std::size_t at = 0; at < bytes.size();) {
    const auto length = number_at<std::uint64_t>(bytes, at);
    CHECK(unmask(number_at<std::uint32_t>(bytes, at + 8)) == crc_of(bytes.substr(at, 8)));
    REQUIRE(at + 16 + length <= bytes.size());
    const std::string payload = bytes.substr(at + 12, length);
    CHECK(unmask(number_at<std::uint32_t>(bytes, at + 12 + length)) == crc_of(payload));
    result.emplace_back();
    REQUIRE(result.back().ParseFromString(payload));
    at += 16 + length;
  }
  return result;
}

}  // namespace

TEST_CASE("crc32c: the vectors of RFC 3720", "[events]") {
  CHECK(crc_of("") == 0);
  CHECK(crc_of("123456789") == 0xE3069283U);
  CHECK(crc_of(std::string(32, '\0')) == 0x8A9136AAU);
  CHECK(crc_of(std::string(32, '\xff')) == 0x62A8AB43U);
  std::string rising;
  for (char c = 0; c < 32; ++c) {
    rising += c;
  }
  CHECK(crc_of(rising) == 0x46DD794EU);
}

TEST_CASE("event writer: scalars and images read back", "[events]") {
  const test::TempDirectory temporary;
  const auto folder = temporary / "made" / "here";
  const std::string png = "not really a PNG, but bytes" + std::string(3, '\0');
  std::filesystem::path path;
  {
    EventWriter writer(folder);
    path = writer.path();
    writer.scalar("loss/transport", 0.25, 5);
    writer.scalar("loss/potential", -1.5, std::int64_t{1} << 40);
    writer.image("samples", std::as_bytes(std::span(png)), 8, 4, 7);
  }
  CHECK(path.filename().string().find("tfevents") != std::string::npos);
  const std::vector<events::Event> all = read_events(path);
  REQUIRE(all.size() == 4);
  CHECK(all[0].file_version() == "brain.Event:2");
  CHECK(all[0].wall_time() > 1.6e9);
  CHECK(all[1].step() == 5);
  CHECK(all[1].summary().value(0).tag() == "loss/transport");
  CHECK(all[1].summary().value(0).simple_value() == 0.25F);
  CHECK(all[2].step() == std::int64_t{1} << 40);
  CHECK(all[3].summary().value(0).image().width() == 8);
  CHECK(all[3].summary().value(0).image().height() == 4);
  CHECK(all[3].summary().value(0).image().encoded_image_string() == png);
}

TEST_CASE("event writer: each writer has a file of its own, flushed on request", "[events]") {
  const test::TempDirectory folder;
  EventWriter first(folder.path());
  EventWriter second(folder.path());
  // TensorBoard reads them in the order of their names.
  CHECK(first.path().filename().string() < second.path().filename().string());
  first.scalar("a", 1, 1);
  first.flush();
  CHECK(read_events(first.path()).size() == 2);
  CHECK(read_events(second.path()).size() == 1);
}

TEST_CASE("event writer: a resumed run says from where its events count", "[events]") {
  const test::TempDirectory folder;
  EventWriter writer(folder.path());
  writer.begin_at(5);
  writer.flush();
  const std::vector<events::Event> all = read_events(writer.path());
  REQUIRE(all.size() == 2);
  CHECK(all[1].step() == 5);
  CHECK(all[1].session_log().status() == events::SessionLog::START);
  // As TensorFlow's event.proto has it: step is field 2; session_log field 7 holds status, field 1, START
  // = 1.
  std::string bytes = all[1].SerializeAsString();
  bytes.erase(0, 9);  // field 1, the time
  CHECK(bytes == std::string("\x10\x05\x3a\x02\x08\x01"));
}

TEST_CASE("event writer: what cannot be written is an error", "[events]") {
  const test::TempDirectory folder;
  std::ofstream(folder / "file") << "a file, not a folder";
  CHECK_THROWS_AS(EventWriter(folder / "file"), Error);
  CHECK_THROWS_AS(EventWriter(folder / "file" / "below"), Error);
  EventWriter writer(folder.path());
  CHECK_THROWS_WITH(writer.image("x", {}, 1, 1, 0), Catch::Contains("expected an image"));
}
