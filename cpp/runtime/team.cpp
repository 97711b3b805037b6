// How a call and the workers meet.
//
// The caller that owns the team (`busy`) writes the job into the share of each thread and then how many tasks are
// `left` in it. Whoever takes one off is in: the job cannot end before that task is done, so what the share says stays
// as it is. The caller works, too, and returns when every task is done; it waits for nobody who has claimed none, and
// who comes too late finds nothing left, or a task of the next job, and does that. All of this passes through one cache
// line a share, which changes hands twice when a job begins and twice when it ends, at 70 ns each: work that two
// threads halve takes 0.6 us more than its half.
#include "runtime/team.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <string>
#include <vector>

#include "runtime/clock.h"
#include "runtime/float_mode.h"
#include "runtime/fork.h"
#include "runtime/futex.h"
#include "runtime/machine.h"

namespace pynn {
namespace {

// What a thread's share of the work has to be worth. A spinning worker costs 0.6 us and what its data takes from one
// core to another (1500: a step of an MLP 8-64-64-10 1.2 times as long); one that sleeps comes 50 to 100 us late, and
// waking it costs the caller a system call.
constexpr double kAwakeShare = 2000, kAsleepShare = 60000;  // ns
// Calls that are too short to wake the team alone do so together, once they have followed each other for kStretch with
// gaps below kGap: a worker that is awake spins over those.
constexpr int64_t kStretch = 200000, kGap = 100000;  // ns
constexpr size_t kStackBytes = size_t(2) << 20;      // musl's default is 128 KiB

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
  // The consecutive tasks that one thread begins with, before it helps with those of others: what it wrote in one call
  // it finds in its own cache in the next, where that is cut alike. The job fills one cache line; its neighbour,
  // fetched with it, is no other thread's.
  struct alignas(128) Share {
    std::atomic<int64_t> left{0};  // tasks that nobody has claimed: none where it is not positive
    std::atomic<int64_t> done{0};
    TaskBody body = nullptr;
    void* context = nullptr;
    int64_t end = 0;  // the last task + 1
    uint64_t float_mode = 0;
    std::atomic<uint32_t> round{0};  // the job; its thread sleeps while this stays
    alignas(64) std::atomic<bool> asleep{false};
  };
  static_assert(sizeof(Share) == 128);

  static void* worker_main(void* number);
  void serve(int number);
  bool work(Share& share);
  void work_on_all(int first, int threads);
  void sleep(Share& own);
  void wake_sleepers(int helpers);
  void relax(int turn) const;

  // What workers read while they look for work, and what callers write, lie in lines of their own.
  std::vector<Share> shares_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> crowded_{false};  // more threads than cores: those who wait yield
  std::atomic<int> helping_{0};       // threads of the job, where they may help with shares of others
  std::atomic<int> workers_{0};
  std::vector<pthread_t> threads_;
  alignas(128) std::atomic<bool> busy_{false};
  std::atomic<int> asleep_{0};
  uint32_t round_ = 0;
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
  if (int(shares_.size()) > wanted) return;
  stop();
  shares_ = std::vector<Share>(size_t(wanted) + 1);
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
    if (pthread_create(&thread, &attributes, worker_main, number)) break;  // then fewer do, until the team grows
    threads_.push_back(thread);
    pthread_setname_np(thread, ("pynn-" + std::to_string(threads_.size())).c_str());
  }
  workers_.store(int(threads_.size()), std::memory_order_relaxed);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
}

void Team::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  round_++;
  for (Share& share : shares_) share.round.store(round_, std::memory_order_release);
  wake_sleepers(workers());
  for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
  threads_.clear();
  shares_.clear();
  helping_.store(0, std::memory_order_relaxed);
  workers_.store(0, std::memory_order_relaxed);
  stopping_.store(false, std::memory_order_relaxed);
}

void* Team::worker_main(void* number) {
  team().serve(int(reinterpret_cast<size_t>(number)));
  return nullptr;
}

// A worker looks for work by claiming from its share, so that the line, once it is here, need not be asked for again.
void Team::serve(int number) {
  inside_task = true;
  Share& own = shares_[number];
  int64_t spin_until = now_ns() + spin_ns();
  for (uint32_t turn = 0; !stopping_.load(std::memory_order_relaxed); turn++) {
    bool called = work(own);
    if (!called && turn % 32 == 31 && now_ns() >= spin_until) {
      sleep(own);
      called = true;
    }
    if (called) {
      const int threads = helping_.load(std::memory_order_relaxed);
      if (number < threads) work_on_all(number, threads);
      spin_until = now_ns() + spin_ns();
    } else {
      relax(0);
    }
  }
}

// Whoever posts a round and then finds nobody in `asleep_` has done so before this thread counted itself, which then
// sees the round and what is left; else it wakes this thread.
void Team::sleep(Share& own) {
  own.asleep.store(true, std::memory_order_relaxed);
  asleep_.fetch_add(1, std::memory_order_acq_rel);
  const uint32_t seen = own.round.load(std::memory_order_acquire);
  if (own.left.load(std::memory_order_relaxed) <= 0 && !stopping_.load(std::memory_order_relaxed))
    sleep_while(own.round, seen);
  asleep_.fetch_sub(1, std::memory_order_relaxed);
  own.asleep.store(false, std::memory_order_relaxed);
}

void Team::wake_sleepers(int helpers) {
  if (asleep_.fetch_add(0, std::memory_order_acq_rel) == 0) return;
  for (int i = 1; i <= helpers; i++)
    if (shares_[i].asleep.load(std::memory_order_relaxed)) wake(shares_[i].round, 1);
}

// Whether there was a task. One that has been claimed and not yet told done keeps the share as it is.
bool Team::work(Share& share) {
  int64_t done = 0;
  for (int64_t left; (left = share.left.fetch_sub(1, std::memory_order_acquire)) > 0; done++) {
    if (done == 0) set_float_mode(share.float_mode);
    share.body(share.context, share.end - left);
  }
  if (done) share.done.fetch_add(done, std::memory_order_release);
  return done > 0;
}

void Team::work_on_all(int first, int threads) {
  for (int i = 0; i < threads; i++) {
    Share& share = shares_[(first + i) % threads];
    if (share.left.load(std::memory_order_relaxed) > 0) work(share);
  }
}

void Team::run(int64_t tasks, int threads, bool wait_for_all, TaskBody body, void* context) {
  start(threads - 1);
  threads = std::min(threads, workers() + 1);
  const auto end = [=](int share) { return tasks * (share + 1) / threads; };
  const auto size = [=](int share) { return end(share) - end(share - 1); };
  const uint64_t float_mode = get_float_mode();
  // One wake a stretch: who sleeps again soon is not worth another.
  if (awake() < threads - 1) stretch_begin = now_ns();
  // A line that all read is not taken from them for nothing.
  const auto change = [](auto& setting, auto value) {
    if (setting.load(std::memory_order_relaxed) != value) setting.store(value, std::memory_order_relaxed);
  };
  change(crowded_, threads > cores());
  change(helping_, wait_for_all ? 0 : threads);
  round_++;
  for (int i = threads; i--;) {
    Share& share = shares_[i];
    share.body = body;
    share.context = context;
    share.end = end(i);
    share.float_mode = float_mode;
    share.done.store(0, std::memory_order_relaxed);
    share.left.store(size(i), std::memory_order_release);
    share.round.store(round_, std::memory_order_release);
  }
  wake_sleepers(threads - 1);
  if (wait_for_all)
    for (int i = 1; i < threads; i++)
      for (int turn = 0; shares_[i].left.load(std::memory_order_relaxed) == size(i); turn++) relax(turn);
  inside_task = true;
  work_on_all(0, threads);
  inside_task = false;
  for (int i = 0; i < threads; i++)
    for (int turn = 0; shares_[i].done.load(std::memory_order_acquire) < size(i); turn++) relax(turn);
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
  const int wanted = worth(kAwakeShare), awake = team().awake() + 1;
  // Those who spin are cheap; sleepers join only where the work, or the stretch, is worth waking them.
  if (wanted <= awake) {
    in_call = true;
    return wanted;
  }
  if (in_long_stretch()) return wanted;
  return std::max({1, awake, worth(kAsleepShare)});
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
