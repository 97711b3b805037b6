// fork() at any moment: what each part of the runtime does just before and after it. fork.cpp calls them in order.
//
// Before: an idle team is joined, and every lock under which data changes is taken, so that the child finds consistent
// data. After: the parent and the child let go; the child also forgets the threads that it does not have.
#pragma once

namespace pynn {

struct ForkHandlers {
  void (*before)();
  void (*after_parent)();
  void (*after_child)();
};

extern const ForkHandlers team_fork_handlers, programs_fork_handlers, pool_fork_handlers, workspace_fork_handlers;

}  // namespace pynn
