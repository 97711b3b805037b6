#include <cstdlib>
#include <thread>

#include "runtime/machine.h"
#include "runtime/pool.h"
#include "runtime/program.h"
#include "runtime/team.h"
#include "runtime/workspace.h"
namespace pynn {
void run_tasks(int64_t tasks, double, TaskBody body, void* context) {
  for (int64_t t = 0; t < tasks; t++) body(context, t);
}
int plan_threads(double) { return 1; }
int num_threads() { return 1; }
void set_num_threads(int) {}
void* scratch(Scratch s, size_t bytes) {
  static thread_local struct {
    void* p;
    size_t n;
  } b[int(Scratch::count)];
  auto& x = b[int(s)];
  if (x.n < bytes) {
    free(x.p);
    x.n = (bytes + 4095) / 4096 * 4096;
    x.p = aligned_alloc(64, x.n + 64);
  }
  return x.p;
}
Program* recording() { return nullptr; }
void Program::begin_call(const char*, Run, void*, const void*, size_t) {}
void Program::add_pointer(void*, Access) {}
void Program::end_call() {}
void Program::know(Block*) {}
Block* allocate(size_t bytes) {
  return new Block{
      (char*)aligned_alloc(64, (bytes + 127) / 64 * 64), bytes, {1}, {0}, nullptr, false, nullptr, nullptr};
}
Block* adopt(void* d, size_t n, bool ro, void* o, void (*r)(Block*)) {
  return new Block{(char*)d, n, {1}, {0}, nullptr, ro, r, o};
}
void retain(Block* b) { b->refs++; }
void release(Block* b) {
  if (--b->refs == 0) {
    if (b->release)
      b->release(b);
    else
      free(b->data);
    delete b;
  }
}
bool cpu_supports(const std::string& isa) {
#if defined(__x86_64__)
  if (isa == "avx512") return __builtin_cpu_supports("x86-64-v4");
  if (isa == "avx2") return __builtin_cpu_supports("x86-64-v3");
#endif
  return true;
}
}  // namespace pynn
