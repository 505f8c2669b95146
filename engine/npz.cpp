// The archive half of engine/npy.h.
#include <fmt/ranges.h>
#include <zip.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/atomic_file.h"
#include "engine/interrupt.h"
#include "engine/npy.h"
#include "kernels/sizes.h"

namespace voxot {
namespace {

constexpr std::string_view kSuffix = ".npy";

struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using Archive = std::unique_ptr<zip_t, Discard>;

Archive open_archive(const std::filesystem::path& path, int flags, std::string_view name) {
  int code = 0;
  Archive archive(zip_open(path.c_str(), flags, &code));
  if (archive == nullptr) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string text = zip_error_strerror(&error);
    zip_error_fini(&error);
    VOXOT_CHECK(code != ZIP_ER_EXISTS, "{}: a member's name comes twice", name);
    fail("{}: expected an npz (zip) archive: {}", name, text);
  }
  return archive;
}

/// What the members that were read so far leave of an archive.
struct Budget {
  std::uint64_t file_bytes;
  std::uint64_t compressed_left;
  std::uint64_t unpacked = 0;
};

/// What the archive's directory says of a member.
zip_stat_t stat_member(zip_t* archive, zip_uint64_t index, std::string_view name) {
  zip_stat_t stat;
  constexpr zip_uint64_t kNeeded =
      ZIP_STAT_INDEX | ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
  VOXOT_CHECK(zip_stat_index(archive, index, 0, &stat) == 0 && (stat.valid & kNeeded) == kNeeded,
              "{}: member {}: damaged entry in the archive's directory", name, index);
  return stat;
}

bool is_array(std::string_view member) { return member.size() > kSuffix.size() && member.ends_with(kSuffix); }

/// Checks that, before anything is allocated for the member.
void check_member(const zip_stat_t& stat, Budget& budget, std::string_view name) {
  const std::string member = printable(stat.name, 80);
  VOXOT_CHECK((stat.valid & ZIP_STAT_ENCRYPTION_METHOD) == 0 || stat.encryption_method == ZIP_EM_NONE,
              "{}: member '{}' is encrypted", name, member);
  const bool stored = stat.comp_method == ZIP_CM_STORE;
  VOXOT_CHECK(stored || stat.comp_method == ZIP_CM_DEFLATE,
              "{}: member '{}': compression method {} is not supported: expected stored or deflated", name,
              member, stat.comp_method);
  // Members that share their bytes are how a small archive unpacks to a vast one.
  VOXOT_CHECK(stat.comp_size <= budget.compressed_left,
              "{}: member '{}' says {} compressed bytes, the file has {} left", name, member, stat.comp_size,
              budget.compressed_left);
  budget.compressed_left -= stat.comp_size;
  VOXOT_CHECK(stored ? stat.size == stat.comp_size : stat.size / kMostDeflated <= stat.comp_size,
              "{}: member '{}' says {} bytes, which its {} {} bytes cannot hold", name, member, stat.size,
              stat.comp_size, stored ? "stored" : "compressed");
  budget.unpacked += stat.size;
  check_unpacked(budget.unpacked, budget.file_bytes, fmt::format("{}: {}", name, member));
}

std::vector<std::byte> read_member(zip_t* archive, const zip_stat_t& stat, std::string_view name) {
  const std::unique_ptr<zip_file_t, Discard> file(zip_fopen_index(archive, stat.index, 0));
  VOXOT_CHECK(file != nullptr, "{}: cannot unpack: {}", name, zip_strerror(archive));
  // A deflated member's memory grows with what really arrives. One byte too many is asked for, which also
  // makes libzip check the CRC.
  const std::uint64_t size = stat.size;
  const std::uint64_t first = stat.comp_method == ZIP_CM_STORE ? size + 1 : std::uint64_t{1} << 20;
  std::vector<std::byte> bytes;
  std::size_t done = 0;
  while (true) {
    if (done == bytes.size()) bytes.resize(std::min(size + 1, std::max<std::uint64_t>(first, 2 * done)));
    const zip_int64_t got = zip_fread(file.get(), bytes.data() + done, bytes.size() - done);
    VOXOT_CHECK(got >= 0, "{}: cannot unpack: {}", name, zip_file_strerror(file.get()));
    done += to_size(got);
    VOXOT_CHECK(done <= size, "{}: unpacks to more than the {} bytes that the archive says", name, size);
    if (got == 0) break;
  }
  VOXOT_CHECK(done == size, "{}: truncated: the archive says {} bytes, it unpacks to {}", name, size, done);
  bytes.resize(done);
  return bytes;
}

void add_member(zip_t* archive, const std::string& key, const HostArray& array, const std::string& header,
                bool compress, std::string_view name) {
  // libzip reads from `fragments` while the archive is closed and copies the list itself.
  zip_buffer_fragment_t fragments[2];
  fragments[0] = {reinterpret_cast<zip_uint8_t*>(const_cast<char*>(header.data())), header.size()};
  fragments[1] = {reinterpret_cast<zip_uint8_t*>(const_cast<std::byte*>(array.bytes.data())),
                  array.bytes.size()};
  zip_source_t* source = zip_source_buffer_fragment(archive, fragments, array.bytes.empty() ? 1 : 2, 0);
  VOXOT_CHECK(source != nullptr, "{}: cannot write '{}': {}", name, printable(key, 80),
              zip_strerror(archive));
  const zip_int64_t index =
      zip_file_add(archive, (key + std::string(kSuffix)).c_str(), source, ZIP_FL_ENC_UTF_8);
  if (index < 0) zip_source_free(source);
  VOXOT_CHECK(index >= 0, "{}: cannot write '{}': {}", name, printable(key, 80), zip_strerror(archive));
  constexpr zip_uint16_t kMidnight = 0, kFirstOfJanuary1980 = 1 << 5 | 1;
  const auto member = static_cast<zip_uint64_t>(index);
  VOXOT_CHECK(zip_set_file_compression(archive, member, compress ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 6) == 0 &&
                  zip_file_set_dostime(archive, member, kMidnight, kFirstOfJanuary1980, 0) == 0,
              "{}: cannot write '{}': {}", name, printable(key, 80), zip_strerror(archive));
}

/// Writes what was added. libzip writes to a file of its own, which only it can remove: a signal waits until
/// it has.
bool close_archive(zip_t* archive) {
  const HoldSignals hold;
  const auto given_up = [](zip_t*, void*) { return caught_signal() != 0 ? 1 : 0; };
  if (hold.outermost()) zip_register_cancel_callback_with_state(archive, given_up, nullptr, nullptr);
  return zip_close(archive) == 0;
}

}  // namespace

struct NpzFile::Members {
  std::string name;  // of the file
  Archive archive;
  std::vector<std::string> names;
  std::vector<zip_stat_t> stats;
  std::vector<std::string> others;  // members that are no arrays
};

NpzFile::NpzFile(const std::filesystem::path& path) : members_(std::make_unique<Members>()) {
  Members& m = *members_;
  m.name = printable(path.string());
  const std::uint64_t size = regular_file_size(path);
  Budget budget{size, size};
  VOXOT_CHECK(size > 0, "{}: expected an npz (zip) archive, the file is empty", m.name);
  m.archive = open_archive(path, ZIP_RDONLY | ZIP_CHECKCONS, m.name);
  const zip_int64_t count = zip_get_num_entries(m.archive.get(), 0);
  for (zip_uint64_t index = 0; index < static_cast<zip_uint64_t>(count); ++index) {
    const zip_stat_t stat = stat_member(m.archive.get(), index, m.name);
    const std::string member = stat.name;
    if (!is_array(member)) {
      m.others.push_back(printable(member, 80));
      continue;
    }
    check_member(stat, budget, m.name);
    const std::string key = member.substr(0, member.size() - kSuffix.size());
    // Not every libzip sees this when it opens the archive.
    VOXOT_CHECK(!has(key), "{}: member's name '{}' comes twice", m.name, printable(member, 80));
    m.names.push_back(key);
    m.stats.push_back(stat);
  }
  VOXOT_CHECK(m.others.empty() || !m.names.empty(), "{}: expected .npy arrays, it holds only '{}'", m.name,
              fmt::join(m.others, "', '"));
}

NpzFile::~NpzFile() = default;
NpzFile::NpzFile(NpzFile&&) noexcept = default;

const std::vector<std::string>& NpzFile::names() const { return members_->names; }

const std::vector<std::string>& NpzFile::others() const { return members_->others; }

bool NpzFile::has(std::string_view name) const {
  return std::ranges::find(members_->names, name) != members_->names.end();
}

HostArray NpzFile::read(const std::string& name) const {
  const Members& m = *members_;
  const auto found = std::ranges::find(m.names, name);
  VOXOT_CHECK(found != m.names.end(), "{}: has no array {}", m.name, printable(name, 80));
  const std::string member = fmt::format("{}: {}", m.name, printable(name + std::string(kSuffix), 80));
  const zip_stat_t& stat = m.stats[to_size(found - m.names.begin())];
  return parse_npy(read_member(m.archive.get(), stat, member), member);
}

std::map<std::string, HostArray> read_npz(const std::filesystem::path& path) {
  const NpzFile file(path);
  std::map<std::string, HostArray> arrays;
  for (const std::string& name : file.names()) arrays.emplace(name, file.read(name));
  return arrays;
}

void write_npz(const std::filesystem::path& path, const std::map<std::string, HostArray>& arrays,
               bool compress) {
  const std::string name = printable(path.string());
  VOXOT_CHECK(!arrays.empty(), "{}: expected at least one array to write", name);
  std::map<std::string, std::string> headers;
  for (const auto& [key, array] : arrays) {
    VOXOT_CHECK(!key.empty() && key.find('\0') == std::string::npos, "{}: '{}' cannot name an array", name,
                printable(key, 80));
    headers[key] = npy_header(array, fmt::format("{}: {}.npy", name, printable(key, 80)));
  }
  replace_file_atomically(path, [&](const std::filesystem::path& temporary) {
    Archive archive = open_archive(temporary, ZIP_CREATE | ZIP_TRUNCATE, name);
    for (const auto& [key, array] : arrays)
      add_member(archive.get(), key, array, headers.at(key), compress, name);
    VOXOT_CHECK(close_archive(archive.get()), "{}: cannot write: {}", name, zip_strerror(archive.get()));
    static_cast<void>(archive.release());
  });
}

}  // namespace voxot
