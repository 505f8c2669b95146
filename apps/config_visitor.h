#pragma once
// How the keys of a config are listed: reading, writing, the set of known keys and their ranges all walk over
// one list.
#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "apps/choice.h"
#include "apps/range.h"

namespace voxot {

/// Called once for each key, in the order of the written file.
class ConfigVisitor {
 public:
  virtual ~ConfigVisitor() = default;
  /// The keys that follow belong to this table ("optimizer.transport").
  virtual void table(const std::string& path) = 0;
  virtual void text(const char* key, std::string& value) = 0;
  virtual void word(const char* key, std::string& value, std::span<const char* const> allowed) = 0;
  void word(const char* key, std::string& value, std::initializer_list<const char*> allowed) {
    word(key, value, std::span(allowed.begin(), allowed.size()));
  }
  virtual void flag(const char* key, bool& value) = 0;
  virtual void integer(const char* key, std::int64_t& value, Range range) = 0;
  virtual void number(const char* key, double& value, Range range) = 0;
  /// `length` < 0: any length.
  virtual void integers(const char* key, std::vector<std::int64_t>& value, Range range, int length) = 0;
  virtual void numbers(const char* key, std::array<double, 2>& value, Range range) = 0;

 protected:
  /// Whether the keys that are visited now have an effect; if not, lacking() says what they go with
  /// ("solver.form = \"weak\"").
  [[nodiscard]] bool effective() const { return lacking_.empty(); }
  [[nodiscard]] const std::string& lacking() const { return lacking_.front(); }

 private:
  friend class When;
  std::vector<std::string> lacking_;
};

/// The keys that are visited while it lives have an effect only where `holds`; `with` says so to a user. They
/// are visited either way, so that they are known.
class When {
 public:
  When(ConfigVisitor& visitor, bool holds, std::string with) : visitor_(holds ? nullptr : &visitor) {
    if (visitor_ != nullptr) visitor_->lacking_.push_back(std::move(with));
  }
  ~When() {
    if (visitor_ != nullptr) visitor_->lacking_.pop_back();
  }
  When(const When&) = delete;
  When& operator=(const When&) = delete;

 private:
  ConfigVisitor* visitor_;
};

/// Visits a key whose value is one of a table's words.
template <class T, std::size_t N>
void visit_choice(ConfigVisitor& visitor, const char* key, T& value, const Choice<T> (&table)[N]) {
  std::array<const char*, N> words;
  for (std::size_t i = 0; i < N; ++i) words[i] = table[i].word;
  std::string word = word_of(value, table);
  visitor.word(key, word, words);
  for (const Choice<T>& choice : table) {
    if (word == choice.word) value = choice.value;
  }
}

}  // namespace voxot
