#pragma once
// Whether this thread records a graph. A driver refuses then what waits or changes memory, and the recording
// is lost; both forms of runtime.h ask here first, so that no such call reaches it.
#include "kernels/check.h"

namespace voxot::simt {

inline thread_local bool recording = false;

/// Throws Error while this thread records: `what` cannot be done.
inline void check_not_recording(const char* what) {
  VOXOT_CHECK(!recording, "cuda: a graph is being recorded: {}", what);
}

inline constexpr const char* kNoMemoryNow = "no memory can be asked for";
inline constexpr const char* kNoWaitNow = "the host cannot wait";
inline constexpr const char* kNoPageableNow = "only page-locked host memory can be copied";

}  // namespace voxot::simt
