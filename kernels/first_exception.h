#pragma once
// An exception that leaves a parallel loop ends the program; this keeps it and throws it after the loop.
#include <exception>
#include <mutex>

namespace voxot {

/// Keeps the first exception of a parallel loop.
class FirstException {
 public:
  /// body(), on any thread; the first exception of all calls is kept.
  template <class Body>
  void guard(const Body& body) noexcept {
    try {
      body();
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (first_ == nullptr) first_ = std::current_exception();
    }
  }
  /// To be called after the loop.
  void rethrow() const {
    if (first_ != nullptr) std::rethrow_exception(first_);
  }

 private:
  std::mutex mutex_;
  std::exception_ptr first_;
};

}  // namespace voxot
