// The thread team: every task once, whoever calls, however many, across forks.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "check.h"
#include "runtime/float_mode.h"
#include "runtime/launch.h"
#include "runtime/team.h"

namespace {

using namespace pynn;

constexpr double kMuch = 1e9;  // ns: work that pays for every thread

template <class Body>
void run(int64_t tasks, double cost_ns, Body&& body) {
  run_tasks(
      tasks, cost_ns, [](void* context, int64_t task) { (*static_cast<Body*>(context))(task); }, &body);
  call_ended();
}

// The tasks write plain memory: the sanitizer sees whether the caller really waits for all of them.
void check_job(int64_t tasks) {
  std::vector<int> times(size_t(tasks), 0);
  run(tasks, kMuch, [&](int64_t t) { times[size_t(t)]++; });
  for (const int n : times) CHECK(n == 1);
}

void every_task_runs_once() {
  for (const int threads : {1, 2, 3, 7}) {
    set_num_threads(threads);
    for (int round = 0; round < 200 * kRounds; round++) check_job(round % 50);
    CHECK(team_workers() <= threads - 1);
  }
}

// With a task for each, whoever arrives there begins with its own and waits in it for the others.
void a_thread_begins_with_its_own_share() {
  always_use_team(true);
  for (const int threads : {2, 3, 7}) {
    set_num_threads(threads);
    std::vector<std::thread::id> first(static_cast<size_t>(threads));
    for (int round = 0; round < 20 * kRounds; round++) {
      std::atomic<int> arrived{0};
      std::vector<std::thread::id> ids(static_cast<size_t>(threads));
      run(threads, 1, [&](int64_t t) {
        ids[size_t(t)] = std::this_thread::get_id();
        arrived++;
        while (arrived < threads) std::this_thread::yield();
      });
      if (round == 0) first = ids;
      CHECK(ids == first && ids[0] == std::this_thread::get_id());
    }
    stop_team();
  }
  always_use_team(false);
}

void all_threads_take_part() {
  always_use_team(true);
  set_num_threads(1);
  for (const int threads : {2, 3, 7}) {
    set_local_threads(threads);
    CHECK(num_threads() == threads && plan_threads(1) == threads);
    std::atomic<int> arrived{0};
    std::set<std::thread::id> ids;
    std::atomic_flag busy;
    run(threads, 1, [&](int64_t) {
      arrived++;
      while (arrived < threads) std::this_thread::yield();  // nobody can take two tasks
      while (busy.test_and_set()) std::this_thread::yield();
      ids.insert(std::this_thread::get_id());
      busy.clear();
    });
    CHECK(int(ids.size()) == threads);
  }
  set_local_threads(0);
  always_use_team(false);
  CHECK(num_threads() == 1);
}

void many_callers_at_once() {
  set_num_threads(3);
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; i++)
    callers.emplace_back([] {
      for (int round = 0; round < 200 * kRounds; round++) check_job(round % 20);
    });
  for (int round = 0; round < 20; round++) {  // resizing meanwhile
    set_num_threads(1 + round % 4);
    std::this_thread::yield();
  }
  for (std::thread& caller : callers) caller.join();
}

void nested_calls_run_on_their_thread() {
  set_num_threads(3);
  std::atomic<int> sum{0};
  run(8, kMuch, [&](int64_t) {
    const auto outer = std::this_thread::get_id();
    if (team_workers()) CHECK(plan_threads(kMuch) == 1);
    run(8, kMuch, [&](int64_t) {
      CHECK(std::this_thread::get_id() == outer);
      sum++;
    });
  });
  CHECK(sum == 64);
}

void small_work_stays_alone() {
  set_num_threads(2);
  stop_team();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));  // what was called before is no stretch with this
  CHECK(plan_threads(1000) == 1);
  CHECK(plan_threads(50000) == 1);  // asleep: a wake costs more
  CHECK(plan_threads(1e6) == 2);
  check_job(10);
}

// Calls that follow each other closely wake the team together, also where they take longer than was estimated; with
// pauses between them they never do.
void a_stretch_of_small_work_wakes() {
  const auto widest = [](int call_us, int pause_us) {
    set_num_threads(2);
    stop_team();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    int threads = 1;
    for (int call = 0; call < 50; call++) {
      threads = std::max(threads, plan_threads(20000));
      run(1, 20000, [&](int64_t) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(call_us);
        while (std::chrono::steady_clock::now() < end) {
        }
      });
      if (pause_us) std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
    }
    return threads;
  };
  CHECK(widest(20, 0) == 2);
  CHECK(widest(200, 0) == 2);
  CHECK(widest(20, 500) == 1);
}

void workers_sleep_and_wake() {
  set_num_threads(3);
  for (const int spin : {0, 50, 1000}) {
    set_spin_microseconds(spin);
    for (int round = 0; round < 10 * kRounds; round++) {
      check_job(9);
      std::this_thread::sleep_for(std::chrono::microseconds(200 * (round % 3)));
    }
    stop_team();
    CHECK(team_workers() == 0);
  }
  set_spin_microseconds(100);
}

void workers_take_over_the_float_mode() {
  always_use_team(true);
  set_num_threads(3);
  for (const bool flush : {true, false, true}) {
    FloatMode mode(flush);
    const uint64_t expected = get_float_mode();
    run(30, kMuch, [&](int64_t) { CHECK(get_float_mode() == expected); });
  }
  always_use_team(false);
}

void fork_child() {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(20);  // a hang fails
    CHECK(team_workers() == 0);
    check_job(20);
    CHECK(team_workers() == num_threads() - 1);  // a team of its own
    _exit(0);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

void forks() {
  set_num_threads(3);
  for (int round = 0; round < 5 * kRounds; round++) {
    check_job(10);
    fork_child();
    check_job(10);
  }
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) check_job(30);
  });
  for (int round = 0; round < 10 * kRounds; round++) fork_child();
  stop = true;
  busy.join();
}

}  // namespace

int main() {
  RUN(every_task_runs_once);
  RUN(all_threads_take_part);
  RUN(a_thread_begins_with_its_own_share);
  RUN(many_callers_at_once);
  RUN(nested_calls_run_on_their_thread);
  RUN(small_work_stays_alone);
  RUN(a_stretch_of_small_work_wakes);
  RUN(workers_sleep_and_wake);
  RUN(workers_take_over_the_float_mode);
  RUN(forks);
}
