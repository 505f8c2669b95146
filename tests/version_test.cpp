// One version: that of CMake, which the command prints, is the changelog's newest.
#include "tests/command.h"
#include "tests/golden.h"

using namespace voxot;
using namespace voxot::test;

TEST_CASE("version: the command's is the newest of CHANGELOG.md", "[version][command]") {
  const TempDirectory directory;
  const Command command(directory.path(), {"--version"});
  REQUIRE(command.wait() == 0);
  const std::string changelog = text_of(Golden::folder().parent_path().parent_path() / "CHANGELOG.md");
  const std::size_t at = changelog.find("\n## ");
  REQUIRE(at != std::string::npos);
  const std::string newest = changelog.substr(at + 4, changelog.find(' ', at + 4) - at - 4);
  CHECK(command.out() == "voxot " + newest + "\n");
}
