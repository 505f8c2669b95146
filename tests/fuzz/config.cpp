// Configs: TOML, and --set. What reads must be written, and read back equal.
#include "apps/config.h"

#include "apps/neural_ot_config.h"
#include "tests/fuzz/fuzz.h"

using namespace voxot;

// The table of kinds without what is made of their configs, which the readers are built without.
std::vector<SolverKind>& voxot::solver_kinds() {
  static std::vector<SolverKind> kinds{
      {"neural_ot",
       []() -> std::unique_ptr<SolverSettings> { return std::make_unique<neural_ot::Settings>(); }, nullptr,
       nullptr, nullptr}};
  return kinds;
}

std::vector<std::string> fuzz::seeds() {
  return {to_toml(RunConfig{}),
          "[solver]\nform = \"weak\"\nsteps = 7\n[optimizer.transport]\nbetas = [0.5, 0.9]\n",
          "solver.steps=7",
          "source = {dataset = \"npy\", path = 'a'}\ntarget.dataset = \"npy\"\ntarget.path = \"b\"\n",
          "[solver]\nlr = 1\n",
          "a = [[1, 2.5e3], 1979-05-27T07:32:00Z, 0x1F, inf, \"\\u00e9\"]\n[[b]]\nc.d = '''x'''\n"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(fuzz::text_of(data, size));
  fuzz::read_or_refuse("input", [&] {
    const RunConfig config = parse_config(text, "input");
    fuzz::require(parse_config(to_toml(config), "again") == config);
  });
  fuzz::read_or_refuse("", [&] { (void)parse_config("", "input", {text}); });
  return 0;
}
