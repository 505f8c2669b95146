#pragma once
// Choices among words, of a config's keys and of a command's options: each table spells its words once.
#include <CLI/CLI.hpp>
#include <cstddef>
#include <string>
#include <vector>

namespace voxot {

/// A word and what it means.
template <class T>
struct Choice {
  const char* word;
  T value;
};

/// The word of a value that is in the table.
template <class T, std::size_t N>
const char* word_of(const T& value, const Choice<T> (&table)[N]) {
  for (const Choice<T>& choice : table) {
    if (choice.value == value) return choice.word;
  }
  return "";
}

/// An option whose value is one of a table's words.
template <class T, std::size_t N>
CLI::Option* add_choice(CLI::App& command, const std::string& name, T& value, const Choice<T> (&table)[N],
                        const std::string& text) {
  std::vector<std::string> words;
  for (const Choice<T>& choice : table) words.emplace_back(choice.word);
  const auto take = [&value, &table](const std::string& word) {
    for (const Choice<T>& choice : table) {
      if (word == choice.word) value = choice.value;
    }
  };
  return command.add_option_function<std::string>(name, take, text)
      ->check(CLI::IsMember(words))
      ->default_str(word_of(value, table));
}

/// What the words of --precision and solver.precision are.
inline constexpr const char* kPrecisions[] = {"auto", "fp32", "tf32", "bf16"};

}  // namespace voxot
