// CHECK(condition) ends the test where the condition does not hold.
#pragma once
#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                   \
  do {                                                                     \
    if (!(condition)) {                                                    \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                        \
    }                                                                      \
  } while (0)

// Runs a test and says so, so that a hang names itself.
#define RUN(test)               \
  do {                          \
    std::printf("%s\n", #test); \
    std::fflush(stdout);        \
    test();                     \
  } while (0)

#if defined(__SANITIZE_THREAD__)
#define PYNN_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PYNN_TSAN 1
#endif
#endif
#ifdef PYNN_TSAN
// The forks of these tests start threads in the child.
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() { return "die_after_fork=0"; }
constexpr int kRounds = 1;
#else
constexpr int kRounds = 5;
#endif
