// Record and replay of made-up launches: every rule by itself.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"
#include "runtime/launch.h"
#include "runtime/program.h"
#include "runtime/team.h"

namespace {

using namespace pynn;

// z = x + y; fails where x holds a negative number
struct Add {
  static constexpr const char* name = "add";
  static constexpr bool arithmetic = true;
  int64_t n;
  const float *x, *y;
  float* z;
  template <class F>
  void pointers(F&& f) {
    f(x, Access::read);
    f(y, Access::read);
    f(z, Access::write);
  }
};

Status add_kernel(const Add& p) {
  if (p.n && p.x[0] < 0) return Status::index_out_of_range;
  struct Context {
    const Add& p;
  } context{p};
  run_tasks(
      p.n, 1e9,
      [](void* c, int64_t i) {
        const Add& p = static_cast<Context*>(c)->p;
        p.z[i] = p.x[i] + p.y[i];
      },
      &context);
  return Status::ok;
}

constexpr int kN = 16;

// Memory that is let go with its scope.
struct Floats {
  Block* block;
  explicit Floats(float value = 0) : block(allocate(kN * sizeof(float))) {
    for (int i = 0; i < kN; i++) data()[i] = value;
  }
  explicit Floats(Program::Memory m) : block(m.block) {}
  Floats(Floats&& other) noexcept : block(other.block) { other.block = nullptr; }
  ~Floats() {
    if (block) release(block);
  }
  float* data() const { return reinterpret_cast<float*>(block->data); }
  bool is(float value) const {
    for (int i = 0; i < kN; i++)
      if (data()[i] != value) return false;
    return true;
  }
};

void add(const Floats& x, const Floats& y, const Floats& z) {
  if (Program* program = recording())
    for (const Floats* a : {&x, &y, &z}) program->know(a->block);
  Add params{kN, x.data(), y.data(), z.data()};
  CHECK(launch(add_kernel, params) == Status::ok);
}

Floats sum(const Floats& x, const Floats& y) {
  Floats z{Program::Memory{allocate(kN * sizeof(float)), nullptr}};
  add(x, y, z);
  return z;
}

Program::Memory memory(const Floats& f) { return {f.block, f.block->data}; }

std::vector<Floats> replay(Program& program, std::vector<Program::Memory> inputs) {
  std::vector<Program::Memory> results;
  const char* failed;
  CHECK(program.replay(inputs, results, &failed) == Status::ok);
  std::vector<Floats> out;
  for (const Program::Memory& m : results) out.emplace_back(m);
  return out;
}

template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const CaptureError& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// (u + v) + w over `inputs` u and v, with a constant w
void record(Program& program, float u_value, float v_value, const Floats& w) {
  Floats u(u_value), v(v_value);
  program.begin();
  program.add_input(u.block);
  program.add_input(v.block);
  const Floats result = sum(sum(u, v), w);
  program.finish({result.block});
  CHECK(result.is(u_value + v_value + w.data()[0]));
}

void replays_other_inputs() {
  const size_t live = pool_stats().live;
  {
    const Floats w(100), a(1), b(2), c(30);
    Program program;
    record(program, 7, 8, w);
    CHECK(program.calls().size() == 2 && program.bytes() == 2 * pool_capacity(kN * sizeof(float)));
    CHECK(replay(program, {memory(a), memory(b)})[0].is(103));
    CHECK(replay(program, {memory(a), memory(c)})[0].is(131));
    CHECK(replay(program, {memory(c), memory(c)})[0].is(160));  // one array twice
    w.data()[0] = 200;                                          // in-place changes are seen
    CHECK(replay(program, {memory(a), memory(b)})[0].data()[0] == 203);
  }
  CHECK(pool_stats().live == live);  // a dropped program gives everything back
}

void held_results_stay_what_they_were() {
  const Floats w(0), one(1);
  Program program;
  record(program, 0, 0, w);
  std::vector<Floats> held;
  for (int i = 0; i < 50; i++) {
    const Floats x{float(i)};
    held.push_back(std::move(replay(program, {memory(x), memory(one)})[0]));
  }
  for (int i = 0; i < 50; i++) CHECK(held[i].is(float(i + 1)));
  Floats h(0);  // h = f(h): a result that is the next input
  for (int i = 0; i < 20; i++) std::swap(h.block, replay(program, {memory(h), memory(one)})[0].block);
  CHECK(h.is(20));
}

void results_that_were_not_computed() {
  const Floats w(5), a(1), b(2);
  Program program;
  {
    Floats u(0), v(0);
    program.begin();
    program.add_input(u.block);
    program.add_input(v.block);
    program.know(w.block);
    program.finish({v.block, w.block});
  }
  const std::vector<Floats> results = replay(program, {memory(a), memory(b)});
  CHECK(results[0].block == b.block && results[1].block == w.block);
}

void in_place_updates_of_outside_memory() {
  const Floats p(1), a(2), b(3);
  Program program;
  {
    Floats u(0), v(0);
    program.begin();
    program.add_input(u.block);
    program.add_input(v.block);
    add(p, u, p);
    program.finish({});
  }
  const uint32_t version = p.block->version;
  replay(program, {memory(a), memory(b)});
  replay(program, {memory(b), memory(b)});
  CHECK(p.is(6) && p.block->version == version + 2);
}

void refusals() {
  const Floats outside(1);
  {  // an input changed in place; the error stays even where somebody catches it
    Program program;
    Floats u(1);
    program.begin();
    program.add_input(u.block);
    CHECK(contains(error_of([&] { add(u, u, u); }), "'add' changes an input"));
    CHECK(contains(error_of([&] { program.finish({}); }), "'add' changes an input"));
    CHECK(!recording());
  }
  {  // memory that nobody told of
    Program program;
    float loose[kN] = {};
    program.begin();
    Add params{kN, loose, loose, loose};
    CHECK(contains(error_of([&] { (void)launch(add_kernel, params); }), "does not know"));
    program.abort();
  }
  {  // something kept
    Program program;
    program.begin();
    const Floats kept = sum(outside, outside);
    CHECK(contains(error_of([&] { program.finish({}); }), "made by 'add' during the capture"));
    CHECK(kept.is(2));  // its memory lives on
  }
  {  // nesting
    Program program, inner;
    const Floats w(0), a(0);
    record(inner, 0, 0, w);
    program.begin();
    Program third;
    CHECK(contains(error_of([&] { third.begin(); }), "under way"));
    CHECK(contains(error_of([&] { replay(inner, {memory(a), memory(a)}); }), "inside a capture"));
    program.abort();
    CHECK(contains(error_of([&] { replay(program, {}); }), "not recorded to its end"));
    CHECK(contains(error_of([&] { program.begin(); }), "records once"));
  }
  {  // dropped while recording
    auto program = std::make_unique<Program>();
    program->begin();
    program.reset();
    CHECK(!recording());
  }
}

// What is not strict goes on without the recording.
void giving_up() {
  const size_t live = pool_stats().live;
  {
    Program program;
    const Floats outside(1);
    program.begin(false);
    const Floats before = sum(outside, outside);
    CHECK(program.knows(outside.block) && program.knows(before.block) && program.refusal().empty());
    float loose[kN] = {3};
    Add params{kN, loose, loose, loose};
    CHECK(launch(add_kernel, params) == Status::ok && loose[0] == 6);
    CHECK(!recording() && contains(program.refusal(), "does not know"));
    const Floats after = sum(before, outside);
    CHECK(after.is(3) && !program.knows(before.block));
    CHECK(contains(error_of([&] { program.finish({after.block}); }), "does not record"));
  }
  {
    Program program;
    const Floats outside(1);
    program.begin(false);
    program.give_up("a reason");
    program.give_up("another");
    CHECK(!recording() && program.refusal() == "a reason" && sum(outside, outside).is(2));
  }
  {  // the caller's memory would not change, so that there is no going on
    Program program;
    Floats u(1);
    program.begin(false);
    program.add_input(u.block);
    CHECK(contains(error_of([&] { add(u, u, u); }), "'add' changes an input"));
    program.abort();
  }
  CHECK(!recording() && pool_stats().live == live);
}

void a_failing_launch_gives_no_results() {
  const Floats w(0), good(1), bad(-1);
  Program program;
  record(program, 0, 0, w);
  const size_t live = pool_stats().live;
  std::vector<Program::Memory> results;
  const char* failed = nullptr;
  CHECK(program.replay({memory(bad), memory(good)}, results, &failed) == Status::index_out_of_range);
  CHECK(std::string(failed) == "add" && results.empty() && pool_stats().live == live);
  CHECK(replay(program, {memory(good), memory(good)})[0].is(2));
}

void many_threads_replay() {
  set_num_threads(2);
  const Floats w(1), b(2);
  Program shared;
  record(shared, 0, 0, w);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++)
    threads.emplace_back([&, i] {
      Program own;
      record(own, 0, 0, w);
      const Floats a{float(i)};
      for (int round = 0; round < 100 * kRounds; round++) {
        CHECK(replay(shared, {memory(a), memory(b)})[0].is(float(i + 3)));
        CHECK(replay(own, {memory(a), memory(b)})[0].is(float(i + 3)));
        CHECK(sum(a, b).is(float(i + 2)));
      }
    });
  for (std::thread& t : threads) t.join();
}

[[maybe_unused]] void fork_during_replay() {
  const Floats w(1), a(2), b(3);
  Program program;
  record(program, 0, 0, w);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) CHECK(replay(program, {memory(a), memory(b)})[0].is(6));
  });
  for (int round = 0; round < 10 * kRounds; round++) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      CHECK(replay(program, {memory(b), memory(b)})[0].is(7));
      _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  stop = true;
  busy.join();
}

}  // namespace

int main() {
  RUN(replays_other_inputs);
  RUN(held_results_stay_what_they_were);
  RUN(results_that_were_not_computed);
  RUN(in_place_updates_of_outside_memory);
  RUN(refusals);
  RUN(giving_up);
  RUN(a_failing_launch_gives_no_results);
  RUN(many_threads_replay);
#ifndef __SANITIZE_ADDRESS__  // its allocator may be locked for ever in the child of a process with threads
  RUN(fork_during_replay);
#endif
}
