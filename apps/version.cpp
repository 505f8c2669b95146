#include "apps/commands.h"

namespace voxot {

const char* const kVersion = VOXOT_VERSION;  // of the build; here, so that another one compiles a line anew

}  // namespace voxot
