#pragma once
// For test cases that need what is not everywhere: a device, a data set, a program.
#include <catch2/catch.hpp>
#include <string>

namespace voxot::test {

/// Whether skip() was called: main.cpp tells ctest, unless something failed.
inline bool any_skipped = false;

/// Says that what follows in a test case is left out, and why; the case then returns. ctest lists it as
/// skipped.
inline void skip(const std::string& why) {
  any_skipped = true;
  WARN("skipped: " << why);
}

}  // namespace voxot::test
