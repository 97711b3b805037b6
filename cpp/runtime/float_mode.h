// Scoped flush-to-zero: subnormal operands cost up to 100 cycles each, so arithmetic kernels flush them, and the
// caller's floating-point mode is back when the kernel returns. Team workers take over the mode of their caller.
#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace pynn {

#if defined(__x86_64__)
inline uint64_t get_float_mode() { return _mm_getcsr(); }
inline void set_float_mode(uint64_t mode) { _mm_setcsr(static_cast<uint32_t>(mode)); }
constexpr uint64_t kFlushSubnormals = 0x8040;  // FTZ and DAZ
#elif defined(__aarch64__)
inline uint64_t get_float_mode() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
inline void set_float_mode(uint64_t mode) { asm volatile("msr fpcr, %0" ::"r"(mode)); }
constexpr uint64_t kFlushSubnormals = 1ull << 24;  // FZ
#else
inline uint64_t get_float_mode() { return 0; }
inline void set_float_mode(uint64_t) {}
constexpr uint64_t kFlushSubnormals = 0;
#endif

class FloatMode {
 public:
  explicit FloatMode(bool flush) : saved_(get_float_mode()) {
    const uint64_t wanted = flush ? saved_ | kFlushSubnormals : saved_ & ~kFlushSubnormals;
    changed_ = wanted != saved_;
    if (changed_) set_float_mode(wanted);
  }
  ~FloatMode() {
    if (changed_) set_float_mode(saved_);
  }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
  uint64_t saved_;
  bool changed_;
};

}  // namespace pynn
