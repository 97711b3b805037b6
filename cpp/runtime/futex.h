// Sleeping on a word of memory until its value changes.
#pragma once
#include <atomic>
#include <cstdint>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace pynn {

// Sleeps while `word` is `value`; may also return for no reason.
inline void sleep_while(std::atomic<uint32_t>& word, uint32_t value) {
#if defined(__linux__)
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
#else
  word.wait(value);
#endif
}

inline void wake(std::atomic<uint32_t>& word, int sleepers) {
#if defined(__linux__)
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, sleepers, nullptr, nullptr, 0);
#else
  (void)sleepers;
  word.notify_all();
#endif
}

}  // namespace pynn
