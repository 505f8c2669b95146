#pragma once
// Errors and the check family. Every public entry validates its arguments with these; the message says
// what was expected, what came, and the shapes.
#if defined(__CUDACC__)
// nvcc takes fmt 9 for no constant expressions, and its rewriting breaks consteval.
#define FMT_CONSTEVAL
#define FMT_USE_CONSTEXPR 1
#endif
#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace voxot {

/// A failure the user is told of in one line (exit status 1 at the command line).
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Wrong usage or a wrong config (exit status 2 at the command line).
class UsageError : public Error {
 public:
  using Error::Error;
};

/// Throws Error with the formatted message.
template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws UsageError with the formatted message.
template <class... Args>
[[noreturn]] void fail_usage(fmt::format_string<Args...> format, Args&&... args) {
  throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace voxot

/// Throws voxot::Error with the formatted message unless the condition holds.
#define VOXOT_CHECK(condition, ...)               \
  do {                                            \
    if (!(condition)) ::voxot::fail(__VA_ARGS__); \
  } while (false)
