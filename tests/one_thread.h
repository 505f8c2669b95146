#pragma once
#include "kernels/features.h"

namespace voxot::test {

/// Keeps the CPU's kernels on one thread for a scope. Thousands of small steps wait for their threads at each
/// kernel; where other tests share the cores that takes twenty times as long as the work.
class OneThread {
 public:
  OneThread() { kernels::set_threads(1); }
  ~OneThread() { kernels::set_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_ = kernels::threads();
};

}  // namespace voxot::test
