#include "apps/config_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

// In this file alone, whatever the build says: toml++ as headers, with its assertions off. They guard against
// text that it also refuses with a proper error ("[=]"): asserted they abort, and with NDEBUG they become
// assumptions.
#undef NDEBUG
#undef TOML_HEADER_ONLY
#undef TOML_SHARED_LIB
#define TOML_HEADER_ONLY 1
#define TOML_ASSERT(condition) static_assert(true)
#include <toml++/toml.h>

namespace voxot {
namespace {

// toml++ frees nested tables recursively: a hostile text of many dotted keys would exhaust the stack.
constexpr std::size_t kMostBytes = 65536;
constexpr std::ptrdiff_t kMostDots = 4096;
constexpr std::size_t kMostShown = 80;

/// A value that the user gave, and where.
struct Entry {
  const toml::node* node;
  std::string origin;  // "demo.toml:12" or "--set solver.steps=3"
  std::uint32_t line;
};

std::string shown(std::string_view text) {
  return text.size() <= kMostShown ? toml_string(text)
                                   : toml_string(std::string(text.substr(0, kMostShown)) + "...");
}

std::string describe(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::string:
      return shown(node.as_string()->get());
    case toml::node_type::integer:
      return fmt::format("{}", node.as_integer()->get());
    case toml::node_type::floating_point:
      return toml_float(node.as_floating_point()->get());
    case toml::node_type::boolean:
      return node.as_boolean()->get() ? "true" : "false";
    case toml::node_type::array:
      return fmt::format("an array of {}", node.as_array()->size());
    case toml::node_type::table:
      return "a table";
    default:
      return "a date or time";
  }
}

std::string describe(const Range& range, const char* what) {
  return fmt::format("{} {} {} and {} {}", what, range.open_low ? "greater than" : "of at least", range.low,
                     range.open_high ? "less than" : "at most", range.high);
}

bool within(double value, const Range& range) {
  return (range.open_low ? value > range.low : value >= range.low) &&
         (range.open_high ? value < range.high : value <= range.high);
}

toml::table parse_toml(std::string_view text, const std::string& name) {
  if (text.size() > kMostBytes || std::count(text.begin(), text.end(), '.') > kMostDots) {
    fail_usage("{}: expected a config of at most {} bytes and {} dots, got {} bytes", name, kMostBytes,
               kMostDots, text.size());
  }
  try {
    return toml::parse(text, name);
  } catch (const toml::parse_error& error) {
    const std::string reason = toml_string(error.description());
    fail_usage("{}:{}: {}", name, error.source().begin.line, reason.substr(1, reason.size() - 2));
  }
}

// The value of an override: TOML, or else a bare word.
toml::table parse_value(const std::string& value, const std::string& origin) {
  const bool opens =
      !value.empty() && std::string_view("\"'[{").find(value.front()) != std::string_view::npos;
  const bool plain = std::none_of(value.begin(), value.end(), [](unsigned char c) { return c < 0x20; });
  if (!plain) {
    fail_usage("{}: expected a value of one line", origin);
  }
  try {
    return parse_toml("value = " + value, origin);
  } catch (const UsageError& error) {
    if (opens || value.size() > kMostBytes / 2) {
      throw;
    }
    return toml::table{{"value", value}};
  }
}

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

std::string_view leaf_of(std::string_view key) {
  return key.substr(key.rfind('.') == std::string_view::npos ? 0 : key.rfind('.') + 1);
}

// All keys and tables of a config.
class KnownKeys final : public ConfigVisitor {
 public:
  KnownKeys() {
    RunConfig defaults;
    visit_config(defaults, *this);
  }
  std::vector<std::string> tables;
  std::vector<std::string> keys;

  void table(const char* path) override { tables.emplace_back(path); }
  void text(const char* key, std::string&) override { add(key); }
  void word(const char* key, std::string&, std::initializer_list<const char*>) override { add(key); }
  void flag(const char* key, bool&) override { add(key); }
  void integer(const char* key, std::int64_t&, Range) override { add(key); }
  void number(const char* key, double&, Range) override { add(key); }
  void integers(const char* key, std::vector<std::int64_t>&, Range, int) override { add(key); }
  void numbers(const char* key, std::array<double, 2>&, Range) override { add(key); }

  [[nodiscard]] bool has_key(const std::string& key) const {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  }
  [[nodiscard]] bool has_table(const std::string& path) const {
    return std::any_of(tables.begin(), tables.end(), [&path](const std::string& table) {
      return table == path || table.rfind(path + ".", 0) == 0;
    });
  }
  // A right name in a wrong table is two edits away. Far from everything: what there is.
  [[nodiscard]] std::string suggest(std::string_view unknown) const {
    const std::string_view key = unknown.substr(0, kMostShown);
    const std::string* nearest = nullptr;
    std::size_t smallest = std::max<std::size_t>(3, key.size() / 3) + 1;
    for (const std::string& known : keys) {
      const std::size_t cost =
          std::min(edit_distance(key, known), 2 + edit_distance(leaf_of(key), leaf_of(known)));
      if (cost < smallest) {
        smallest = cost;
        nearest = &known;
      }
    }
    return nearest != nullptr ? fmt::format("did you mean {}?", toml_string(*nearest))
                              : fmt::format("the tables are {}", fmt::join(tables, ", "));
  }

 private:
  void add(const char* key) { keys.push_back(tables.back() + "." + key); }
};

}  // namespace

struct ConfigReader::Entries {
  KnownKeys known;
  std::vector<std::unique_ptr<toml::table>> parsed;  // owns the nodes
  std::map<std::string, Entry> values;

  // Later calls win over earlier ones. `origin`: of an override; empty for a file, where each node has a
  // line.
  void add(const toml::node& node, const std::string& key, const std::string& name,
           const std::string& origin) {
    const toml::table* table = node.as_table();
    if (table != nullptr && known.has_table(key)) {
      for (const auto& [child, value] : *table) {
        add(value, key + "." + std::string(child.str()), name, origin);
      }
      return;
    }
    const std::uint32_t line = node.source().begin.line;
    const Entry entry{&node, origin.empty() ? fmt::format("{}:{}", name, line) : origin, line};
    if (known.has_key(key)) {
      values.insert_or_assign(key, entry);
      return;
    }
    if (known.has_table(key)) {
      fail_usage("{}: {}: expected a table, got {}", entry.origin, key, describe(node));
    }
    std::string full = key;  // of a table that is unknown altogether, name its first key
    while (table != nullptr && !table->empty() && full.size() < kMostShown) {
      full += "." + std::string(table->begin()->first.str());
      table = table->begin()->second.as_table();
    }
    fail_usage("{}: unknown key {}; {}", entry.origin, shown(full), known.suggest(full));
  }

  // In the order of lines, so that the first mistake of the file is the one reported.
  void add_text(std::string_view text, const std::string& name) {
    parsed.push_back(std::make_unique<toml::table>(parse_toml(text, name)));
    std::vector<std::pair<std::uint32_t, std::string>> order;
    for (const auto& [key, node] : *parsed.back()) {
      order.emplace_back(node.source().begin.line, key.str());
    }
    std::sort(order.begin(), order.end());
    for (const auto& [line, key] : order) {
      add(*parsed.back()->get(key), key, name, "");
    }
  }

  void add_override(const std::string& option) {
    const std::string text = shown(option);
    const std::string origin = "--set " + text.substr(1, text.size() - 2);
    const std::size_t equals = option.find('=');
    const auto trim = [](std::string part) {
      part.erase(0, std::min(part.find_first_not_of(' '), part.size()));
      part.erase(part.find_last_not_of(' ') + 1);
      return part;
    };
    const std::string key = trim(option.substr(0, equals));
    if (equals == std::string::npos || key.empty()) {
      fail_usage("{}: expected key=value, as in --set solver.steps=300", origin);
    }
    parsed.push_back(std::make_unique<toml::table>(parse_value(trim(option.substr(equals + 1)), origin)));
    add(*parsed.back()->get("value"), key, "", origin);
  }

  [[nodiscard]] const Entry* find(const std::string& key) const {
    const auto found = values.find(key);
    return found == values.end() ? nullptr : &found->second;
  }
};

namespace {

[[noreturn]] void refuse(const Entry& entry, const std::string& key, const std::string& expected,
                         const toml::node& node) {
  fail_usage("{}: {}: expected {}, got {}", entry.origin, key, expected, describe(node));
}

std::int64_t integer_of(const Entry& entry, const std::string& key, const toml::node& node, Range range) {
  const auto* value = node.as_integer();
  if (value == nullptr || !within(static_cast<double>(value->get()), range)) {
    refuse(entry, key, describe(range, "an integer"), node);
  }
  return value->get();
}

double number_of(const Entry& entry, const std::string& key, const toml::node& node, Range range) {
  const double value = node.is_number() ? *node.value<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!within(value, range)) {
    refuse(entry, key, describe(range, "a number"), node);
  }
  return value;
}

}  // namespace

ConfigReader::ConfigReader(std::string_view text, const std::string& name,
                           const std::vector<std::string>& overrides)
    : entries_(std::make_unique<Entries>()) {
  entries_->add_text(text, name);
  for (const std::string& option : overrides) {
    entries_->add_override(option);
  }
}

ConfigReader::~ConfigReader() = default;

bool ConfigReader::gives(const std::string& key) const { return entries_->find(key) != nullptr; }

void ConfigReader::table(const char* path) { table_ = path; }

void ConfigReader::text(const char* key, std::string& value) {
  const std::string path = table_ + "." + key;
  if (const Entry* entry = entries_->find(path)) {
    if (!entry->node->is_string() || entry->node->as_string()->get().find('\0') != std::string::npos) {
      refuse(*entry, path, "a string", *entry->node);
    }
    value = entry->node->as_string()->get();
  }
}

void ConfigReader::word(const char* key, std::string& value, std::initializer_list<const char*> allowed) {
  const std::string path = table_ + "." + key;
  if (const Entry* entry = entries_->find(path)) {
    const auto* given = entry->node->as_string();
    if (given == nullptr || std::find(allowed.begin(), allowed.end(), given->get()) == allowed.end()) {
      refuse(*entry, path, fmt::format("\"{}\"", fmt::join(allowed, "\" or \"")), *entry->node);
    }
    value = given->get();
  }
}

void ConfigReader::flag(const char* key, bool& value) {
  const std::string path = table_ + "." + key;
  if (const Entry* entry = entries_->find(path)) {
    if (!entry->node->is_boolean()) {
      refuse(*entry, path, "true or false", *entry->node);
    }
    value = entry->node->as_boolean()->get();
  }
}

void ConfigReader::integer(const char* key, std::int64_t& value, Range range) {
  const std::string path = table_ + "." + key;
  if (const Entry* entry = entries_->find(path)) {
    value = integer_of(*entry, path, *entry->node, range);
  }
}

void ConfigReader::number(const char* key, double& value, Range range) {
  const std::string path = table_ + "." + key;
  if (const Entry* entry = entries_->find(path)) {
    value = number_of(*entry, path, *entry->node, range);
  }
}

void ConfigReader::integers(const char* key, std::vector<std::int64_t>& value, Range range, int length) {
  const std::string path = table_ + "." + key;
  if (const Entry* entry = entries_->find(path)) {
    const toml::array* items = entry->node->as_array();
    if (items == nullptr || (length >= 0 && items->size() != static_cast<std::size_t>(length))) {
      refuse(*entry, path,
             length < 0 ? "an array of integers" : fmt::format("an array of {} integers", length),
             *entry->node);
    }
    value.clear();
    for (const toml::node& item : *items) {
      value.push_back(integer_of(*entry, path, item, range));
    }
  }
}

void ConfigReader::numbers(const char* key, std::array<double, 2>& value, Range range) {
  const std::string path = table_ + "." + key;
  if (const Entry* entry = entries_->find(path)) {
    const toml::array* items = entry->node->as_array();
    if (items == nullptr || items->size() != value.size()) {
      refuse(*entry, path, "an array of 2 numbers", *entry->node);
    }
    for (std::size_t i = 0; i < value.size(); ++i) {
      value[i] = number_of(*entry, path, (*items)[i], range);
    }
  }
}

std::string toml_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      result += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string toml_float(double value) {
  const std::string text = fmt::format("{}", value);
  return text.find_first_of(".eni") == std::string::npos ? text + ".0" : text;
}

}  // namespace voxot
