// The tests' own main: Catch's, and a status by which ctest knows that a test case was skipped.
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include "tests/skip.h"

int main(int argc, char** argv) {
  Catch::Session session;
  int skipped = 0;
  session.cli(session.cli() | Catch::clara::Opt(skipped, "status")["--skipped"](
                                  "exit status where something was skipped and nothing failed"));
  if (const int wrong = session.applyCommandLine(argc, argv)) return wrong;
  const int failed = session.run();
  return failed == 0 && voxot::test::any_skipped ? skipped : failed;
}
