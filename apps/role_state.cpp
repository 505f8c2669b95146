#include "apps/role_state.h"

#include "engine/optimizer.h"

namespace voxot {
namespace {

std::map<std::string, HostArray> take_prefixed(const std::string& prefix,
                                               const std::map<std::string, HostArray>& all) {
  std::map<std::string, HostArray> some;
  for (auto it = all.lower_bound(prefix); it != all.end() && it->first.starts_with(prefix); ++it) {
    some[it->first.substr(prefix.size())] = it->second;
  }
  return some;
}

}  // namespace

void load_role(const Checkpoint& checkpoint, const std::string& role, Parameters& parameters) {
  load_state_dict(parameters.module(), take_prefixed(role + ".", checkpoint.file.tensors),
                  checkpoint.path.string() + ": " + role);
}

void load_averaged_role(const Checkpoint& checkpoint, const std::string& role, const std::string& average,
                        Parameters& parameters) {
  load_role(checkpoint, role, parameters);
  MovingAverage loaded(parameters, 0);
  loaded.load(average, checkpoint.file.tensors, checkpoint.path.string());
  if (loaded.ready()) loaded.swap();
}

}  // namespace voxot
