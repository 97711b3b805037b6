// How a call and the workers meet.
//
// The caller that owns the team (`busy`) writes the job while it is closed and nobody is inside, opens it, announces
// it by a new `round`, and works on it too. When no task is left to claim it closes the job and waits for those who
// are inside. A worker that sees a new round enters (`inside` + 1) and then looks whether the job is open; a worker
// that wakes too late finds it closed and leaves, and the caller did not wait for it. Both sides write one flag and
// then read the other's, so all four accesses are sequentially consistent.
#include "runtime/team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <string>
#include <vector>

#include "runtime/float_mode.h"
#include "runtime/fork.h"
#include "runtime/futex.h"
#include "runtime/machine.h"

namespace pynn {
namespace {

// What a thread's share of the work has to be worth. A spinning worker joins and leaves in about 1 us; one that sleeps
// comes 50 to 100 us late, and waking it costs the caller a system call.
constexpr double kAwakeShare = 3000, kAsleepShare = 60000;  // ns
// Calls that are too short to wake the team alone do so together, once they have followed each other for kStretch with
// gaps below kGap: a worker that is awake spins over those.
constexpr int64_t kStretch = 200000, kGap = 100000;  // ns
constexpr size_t kStackBytes = size_t(2) << 20;      // musl's default is 128 KiB

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
}

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

thread_local constinit int local_limit = 0;
thread_local constinit bool inside_task = false;
thread_local constinit int64_t stretch_begin = 0, stretch_end = 0;  // of calls on this thread that close up
thread_local constinit bool in_call = false;                        // that has asked for threads

// Whether a call made now continues a stretch that is worth a wake.
bool in_long_stretch() {
  const int64_t now = now_ns();
  if (!in_call && now - stretch_end > kGap) stretch_begin = now;
  in_call = true;
  return now - stretch_begin > kStretch;
}

class Team {
 public:
  bool try_own() { return !busy_.load(std::memory_order_relaxed) && !busy_.exchange(true, std::memory_order_acquire); }
  void own() {
    while (!try_own()) sched_yield();
  }
  void disown() { busy_.store(false, std::memory_order_release); }
  bool busy() const { return busy_.load(std::memory_order_relaxed); }

  int workers() const { return workers_.load(std::memory_order_relaxed); }
  int awake() const { return workers() - asleep_.load(std::memory_order_relaxed); }

  // Only the owner calls these.
  void start(int wanted);
  void stop();
  void run(int64_t tasks, int threads, bool wait_for_all, TaskBody body, void* context);

 private:
  static void* worker_main(void* number);
  void serve(int number);
  uint32_t wait_for_round(uint32_t seen, int64_t spin_until);
  void announce(int helpers);
  void take_part(int number);
  void work(int number);
  void relax(int turn) const;

  // The job: written by the owner while closed.
  TaskBody body_ = nullptr;
  void* context_ = nullptr;
  uint64_t float_mode_ = 0;
  int shares_ = 0;

  // Consecutive tasks, one share per thread. Each thread begins with the share of its number and then helps with the
  // others: what it wrote in one call it finds in its own cache in the next, where that is cut alike.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};  // the first task that nobody has claimed
    int64_t end = 0;
  };
  std::vector<Share> share_;

  alignas(64) std::atomic<int> inside_{0};  // workers between entering and leaving
  std::atomic<int> seats_{0};               // helpers that the open job still takes
  alignas(64) std::atomic<uint32_t> round_{0};
  std::atomic<bool> open_{false};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> crowded_{false};  // more threads than cores: those who wait yield
  alignas(64) std::atomic<int> asleep_{0};
  std::atomic<int> workers_{0};
  std::atomic<bool> busy_{false};
  std::vector<pthread_t> threads_;
};

// Read by every call; the team itself is made at first use.
struct Settings {
  std::atomic<int> threads{0};  // 0: not asked for yet
  std::atomic<int64_t> spin_ns{kSpinMicroseconds * 1000};
  std::atomic<bool> always{false};
};
constinit Settings settings;

Team& team() {
  static Team* team = new Team;  // never destroyed: workers sleep in it when the process exits
  return *team;
}

int cores() {
  static const int cores = std::max(1, affinity_cores());
  return cores;
}

int64_t spin_ns() { return settings.spin_ns.load(std::memory_order_relaxed); }

void Team::relax(int turn) const {
  if (crowded_.load(std::memory_order_relaxed) || turn > 10000) {
    sched_yield();
  } else {
    pause_briefly();
  }
}

void Team::start(int wanted) {
  if (int(threads_.size()) >= wanted) return;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  // Signals belong to the threads of the program: one that a worker took would not interrupt a sleep of theirs.
  // Those of a fault are for the thread that made it, and for whoever reports the crash (faulthandler).
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  threads_.reserve(wanted);
  while (int(threads_.size()) < wanted) {
    pthread_t thread;
    void* number = reinterpret_cast<void*>(threads_.size() + 1);           // the caller is 0
    if (pthread_create(&thread, &attributes, worker_main, number)) break;  // then fewer have to do
    threads_.push_back(thread);
    pthread_setname_np(thread, ("pynn-" + std::to_string(threads_.size())).c_str());
  }
  workers_.store(int(threads_.size()), std::memory_order_relaxed);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
}

void Team::stop() {
  stopping_.store(true);
  announce(int(threads_.size()));
  for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
  threads_.clear();
  workers_.store(0, std::memory_order_relaxed);
  stopping_.store(false);
}

void* Team::worker_main(void* number) {
  team().serve(int(reinterpret_cast<size_t>(number)));
  return nullptr;
}

void Team::serve(int number) {
  inside_task = true;
  uint32_t seen = round_.load();
  // A round that was announced before this thread ran is found open or is over.
  int64_t spin_until = now_ns() + spin_ns();
  while (!stopping_.load()) {
    if (open_.load()) {
      take_part(number);
      spin_until = now_ns() + spin_ns();
    }
    seen = wait_for_round(seen, spin_until);
  }
}

uint32_t Team::wait_for_round(uint32_t seen, int64_t spin_until) {
  for (int turn = 0;; turn++) {
    const uint32_t round = round_.load(std::memory_order_acquire);
    if (round != seen) return round;
    if (turn % 32 == 31 && now_ns() >= spin_until) break;
    relax(0);
  }
  asleep_.fetch_add(1);
  while (round_.load() == seen) sleep_while(round_, seen);
  asleep_.fetch_sub(1);
  return round_.load();
}

void Team::announce(int helpers) {
  round_.fetch_add(1);
  if (asleep_.load() > 0) wake(round_, helpers);
}

void Team::take_part(int number) {
  inside_.fetch_add(1);
  if (open_.load() && seats_.fetch_sub(1, std::memory_order_relaxed) > 0) {
    set_float_mode(float_mode_);
    work(number);
  }
  inside_.fetch_sub(1);
}

void Team::work(int number) {
  for (int i = 0; i < shares_; i++) {
    Share& share = share_[(number + i) % shares_];
    for (int64_t t; (t = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) body_(context_, t);
  }
}

void Team::run(int64_t tasks, int threads, bool wait_for_all, TaskBody body, void* context) {
  start(threads - 1);
  const int helpers = std::min(threads - 1, workers());
  body_ = body;
  context_ = context;
  float_mode_ = get_float_mode();
  shares_ = threads;
  if (int(share_.size()) < threads) share_ = std::vector<Share>(threads);
  for (int i = 0; i < threads; i++) {
    share_[i].next.store(tasks * i / threads, std::memory_order_relaxed);
    share_[i].end = tasks * (i + 1) / threads;
  }
  seats_.store(helpers, std::memory_order_relaxed);
  crowded_.store(threads > cores(), std::memory_order_relaxed);
  open_.store(true);
  if (awake() < helpers) stretch_begin = now_ns();  // one wake a stretch: who sleeps again soon is not worth another
  announce(helpers);
  if (wait_for_all)
    for (int turn = 0; seats_.load(std::memory_order_relaxed) > 0; turn++) relax(turn);
  inside_task = true;
  work(0);
  inside_task = false;
  open_.store(false);
  for (int turn = 0; inside_.load() > 0; turn++) relax(turn);
}

}  // namespace

int num_threads() {
  if (local_limit) return local_limit;
  int n = settings.threads.load(std::memory_order_relaxed);
  if (!n) {
    n = default_threads().threads;
    settings.threads.store(n, std::memory_order_relaxed);
  }
  return n;
}

int plan_threads(double cost_ns) {
  const bool always = settings.always.load(std::memory_order_relaxed);
  if ((cost_ns < 2 * kAwakeShare && !always) || inside_task) return 1;
  const int most = num_threads();
  if (most == 1 || team().busy()) return 1;
  if (always) return most;
  auto worth = [&](double share) { return int(std::min(cost_ns / share, double(most))); };
  if (in_long_stretch()) return worth(kAwakeShare);
  // Those who spin are cheap; sleepers join only where the work is worth waking them.
  return std::max({1, std::min(worth(kAwakeShare), team().awake() + 1), worth(kAsleepShare)});
}

void run_tasks(int64_t tasks, double cost_ns, TaskBody body, void* context) {
  const int threads = int(std::min<int64_t>(tasks, plan_threads(cost_ns)));
  if (threads > 1 && team().try_own()) {
    team().run(tasks, threads, settings.always.load(std::memory_order_relaxed), body, context);
    team().disown();
  } else {
    for (int64_t t = 0; t < tasks; t++) body(context, t);
  }
}

void call_ended() {
  if (!in_call) return;
  in_call = false;
  stretch_end = now_ns();
}

void set_num_threads(int n) {
  settings.threads.store(n, std::memory_order_relaxed);
  if (team_workers() > n - 1) stop_team();
}

void set_local_threads(int n) { local_limit = n; }
int local_threads() { return local_limit; }
void set_spin_microseconds(int us) { settings.spin_ns.store(int64_t(us) * 1000, std::memory_order_relaxed); }
int team_workers() { return team().workers(); }
void always_use_team(bool on) { settings.always.store(on, std::memory_order_relaxed); }

void stop_team() {
  team().own();
  team().stop();
  team().disown();
}

// An idle team is joined, so that the child misses no thread. A busy one goes on in the parent; its owner's thread
// does not exist in the child.
namespace {
thread_local constinit bool owned_for_fork = false;

void before_fork() {
  owned_for_fork = !inside_task && team().try_own();
  if (owned_for_fork) team().stop();
}

void after_fork_in_parent() {
  if (owned_for_fork) team().disown();
}

void after_fork_in_child() {
  new (&team()) Team;
  inside_task = false;
}
}  // namespace

const ForkHandlers team_fork_handlers = {before_fork, after_fork_in_parent, after_fork_in_child};

}  // namespace pynn
