#pragma once
// The scores of a run. Each is defined in one place, a row of score_kinds(): the table on the terminal,
// evaluation.json and the columns of a report follow from it.
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace voxot {

/// When evaluation.json has a score, and the table a row of it.
enum class Presence : std::uint8_t {
  always,    // where it is unknown: null, and a row that says so
  json,      // where it is unknown: null, and no row
  known,     // where it is known
  group,     // a number for each name that is known, in an object that is always there
  if_group,  // the same, in an object that is there where a number is
};

struct ScoreKind {
  const char* key;     // in evaluation.json; "a/b": key b of the object a
  const char* text;    // of its row; of a group "{}" is the name; empty: no row
  const char* format;  // of its value in the row
  const char* note;    // what the row says beside it
  Presence presence = Presence::always;
  bool whole = false;       // a count
  const char* column = "";  // its key in a report; empty: none there
  const char* title = "";   // the heading of that column
  int digits = -1;          // after the point in a report; -1: as many as the number has
};

/// All of them, in the order of the table.
std::span<const ScoreKind> score_kinds();

/// A column of a report that is one score over another.
struct ScoreRatio {
  const char* column;
  const char* title;
  const char* score;  // keys
  const char* over;
};
std::span<const ScoreRatio> score_ratios();

class Scores {
 public:
  /// `note` in the place of the kind's, where it is not empty. Throws Error for a key that no kind has.
  void set(const std::string& key, double value, const std::string& note = {});
  /// One of a group.
  void set(const std::string& key, const std::string& name, double value, const std::string& note = {});
  /// Why a score has no value ("refused"), in the place of "n/a".
  void refuse(const std::string& key, const std::string& word, const std::string& note = {});

  [[nodiscard]] std::optional<double> get(const std::string& key) const;
  /// Names and values, in the order in which they were set.
  [[nodiscard]] std::vector<std::pair<std::string, double>> group(const std::string& key) const;
  /// A count, as "samples" and "step" are; 0 where it is unknown.
  [[nodiscard]] std::int64_t count(const std::string& key) const;

 private:
  friend std::string scores_table(const Scores& scores);
  struct Value {
    std::string name;  // in a group
    std::optional<double> value;
    std::string word, note;
  };
  [[nodiscard]] const std::vector<Value>& values(const ScoreKind& kind) const;

  std::map<std::string, std::vector<Value>> values_;
};

/// A row for each score that has one.
std::string scores_table(const Scores& scores);
/// With a line end.
std::string scores_json(const Scores& scores);
/// What scores_json() wrote, now or in an earlier version, whose scores may be fewer. Throws Error, beginning
/// with `name`, for anything else.
Scores parse_scores(const std::string& json, const std::string& name);

}  // namespace voxot
