// One process-wide team of threads, started at first use.
//
// Work is a number of independent tasks; which thread runs a task never changes a bit of the result. Tasks are
// claimed one by one, so a thread that wakes late or is descheduled delays nobody but its own task.
#pragma once
#include <cstdint>

namespace pynn {

using TaskBody = void (*)(void* context, int64_t task);

// Runs body(context, t) for every t in [0, tasks). `cost_ns` estimates all of it on one thread; the call uses
// only as many threads as that pays for, and asks whether the team is awake. A call made from inside a task, or
// while another thread uses the team, runs on the calling thread.
void run_tasks(int64_t tasks, double cost_ns, TaskBody body, void* context);

// The number of threads that run_tasks would use at this moment, at least 1. A kernel cuts its work into about
// this many pieces where pieces cost something (a packed block, a partial result): never where bits depend on it.
int plan_threads(double cost_ns);

// To be told at the end of a call that may have asked for threads: whether the next one follows closely decides on
// waking the team, which short calls do together.
void call_ended();

int num_threads();              // threads a call of this thread may use
void set_num_threads(int n);    // n >= 1; the process-wide size, obeyed even above the number of cores
void set_local_threads(int n);  // this thread's own number, as `with pynn.threads(n)`; 0 takes it back
int local_threads();
inline constexpr int kSpinMicroseconds = 100;
void set_spin_microseconds(int us);  // how long an idle worker spins before it sleeps: 0 to 1000
void stop_team();                    // joins the workers; the next call that pays for them starts them again
int team_workers();                  // started at this moment, without the callers

// For tests: every call of two or more tasks uses all its threads, whatever they cost, and starts when they are there.
void always_use_team(bool on);

}  // namespace pynn
