#include "runtime/fork.h"

#include <pthread.h>

namespace pynn {
namespace {

// In the order in which their locks nest.
const ForkHandlers* const kHandlers[] = {&team_fork_handlers, &programs_fork_handlers, &pool_fork_handlers,
                                         &workspace_fork_handlers};
constexpr int kCount = sizeof kHandlers / sizeof *kHandlers;

void before() {
  for (int i = 0; i < kCount; i++) kHandlers[i]->before();
}

void after_parent() {
  for (int i = kCount; i--;) kHandlers[i]->after_parent();
}

void after_child() {
  for (int i = kCount; i--;) kHandlers[i]->after_child();
}

[[maybe_unused]] const int registered = pthread_atfork(before, after_parent, after_child);

}  // namespace
}  // namespace pynn
