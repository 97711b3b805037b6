#include "runtime/program.h"

#include "runtime/fork.h"

namespace pynn {
const ForkHandlers programs_fork_handlers = {[] {}, [] {}, [] {}};
Program* recording() { return nullptr; }
void Program::begin_call(const char*, Run, void*, const void*, size_t) {}
void Program::add_pointer(void*, Access) {}
void Program::end_call() {}
void Program::know(Block*) {}
Block* Program::allocate(size_t bytes) { return pool_allocate(bytes); }
}  // namespace pynn
