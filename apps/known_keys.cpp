#include "apps/known_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace voxot {
namespace {

constexpr std::size_t kMostShown = 80;

// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours each cost 1.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0U : 1U)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string_view leaf_of(std::string_view key) { return key.substr(key.rfind('.') + 1); }

std::string_view table_of(std::string_view key) {
  return key.substr(0, key.rfind('.') == std::string_view::npos ? 0 : key.rfind('.'));
}

}  // namespace

KnownKeys::KnownKeys() { visit_all_kinds(*this); }

void KnownKeys::table(const std::string& path) {
  table_ = path;
  if (std::find(tables_.begin(), tables_.end(), path) == tables_.end()) tables_.push_back(path);
}

void KnownKeys::add(const char* key) {
  const std::string path = table_ + "." + key;
  if (!has_key(path)) keys_.push_back(path);
}

bool KnownKeys::has_key(const std::string& key) const {
  return std::find(keys_.begin(), keys_.end(), key) != keys_.end();
}

bool KnownKeys::has_table(const std::string& path) const {
  return std::any_of(tables_.begin(), tables_.end(), [&path](const std::string& table) {
    return table == path || table.starts_with(path + ".");
  });
}

std::vector<std::string> KnownKeys::named(std::string_view name, std::string_view table) const {
  std::vector<std::string> all;
  for (const std::string& key : keys_) {
    if (key == name) return {key};
    if (leaf_of(key) != name) continue;
    if (table_of(key) == table) return {key};
    all.push_back(key);
  }
  return all;
}

std::vector<std::string> KnownKeys::similar(std::string_view unknown) const {
  // A right name in a wrong table is two edits away.
  std::vector<std::string> nearest;
  std::size_t smallest = std::max<std::size_t>(3, unknown.size() / 3);
  for (const std::string& known : keys_) {
    const std::size_t cost =
        std::min(edit_distance(unknown, known), 2 + edit_distance(leaf_of(unknown), leaf_of(known)));
    if (cost > smallest) continue;
    if (cost < smallest) nearest.clear();
    smallest = cost;
    // Of equally near ones the first, and those that differ in the table alone.
    if (nearest.empty() || leaf_of(nearest.front()) == leaf_of(known)) nearest.push_back(known);
  }
  return nearest;
}

std::string KnownKeys::suggest(std::string_view unknown) const {
  const std::string_view key = unknown.substr(0, kMostShown);
  std::vector<std::string> meant;
  for (const KeySynonym& synonym : key_synonyms()) {
    if (leaf_of(key) != synonym.word) continue;
    if (synonym.key[0] == '-') return fmt::format("did you mean the option {}?", synonym.key);
    meant = named(synonym.key, table_of(key));
  }
  if (meant.empty()) meant = similar(key);
  return meant.empty() ? fmt::format("the tables are {}", fmt::join(tables_, ", "))
                       : fmt::format("did you mean \"{}\"?", fmt::join(meant, "\" or \""));
}

}  // namespace voxot
