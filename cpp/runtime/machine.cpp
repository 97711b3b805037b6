#include "runtime/machine.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

namespace pynn {
namespace {

// The first line of a file; empty where there is none.
std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// A whole string as a number within [low, high], or `otherwise`.
int64_t number(const std::string& text, int64_t low, int64_t high, int64_t otherwise) {
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  while (*end == ' ') end++;
  return text.empty() || *end || errno || value < low || value > high ? otherwise : value;
}

// "0-2,5" as {0, 1, 2, 5}: the kernel's lists of CPUs.
std::vector<int> cpu_list(const std::string& text) {
  std::vector<int> cpus;
  std::stringstream ranges(text);
  for (std::string range; std::getline(ranges, range, ',');) {
    const size_t dash = range.find('-');
    const int64_t first = number(range.substr(0, dash), 0, 1 << 16, -1);
    const int64_t last = dash == std::string::npos ? first : number(range.substr(dash + 1), 0, 1 << 16, -1);
    for (int64_t cpu = first; cpu >= 0 && cpu <= last; cpu++) cpus.push_back(int(cpu));
  }
  return cpus;
}

// The hardware threads of one core share a list of siblings. CPUs without that file are cores of their own.
int count_cores(const std::string& root, const std::vector<int>& cpus) {
  std::set<std::string> cores;
  for (const int cpu : cpus) {
    const std::string folder = root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
    const std::string siblings = first_line(folder + "thread_siblings_list");
    cores.insert(siblings.empty() ? "cpu" + std::to_string(cpu) : siblings);
  }
  return int(cores.size());
}

// Calls `visit` with the folder of this process's control group and each of its parents, for the controller of
// version 1 or, where that is null, for version 2. A limit of any of them holds.
void walk_cgroup(const std::string& root, const char* controller,
                 const std::function<void(const std::string&)>& visit) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // 4:memory:/path or, in version 2, 0::/path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string mount = root + "/sys/fs/cgroup";
    if (controller) {
      if (("," + controllers + ",").find(std::string(",") + controller + ",") == std::string::npos) continue;
      mount += "/" + controllers;
    } else if (!controllers.empty()) {
      continue;
    }
    // In a container the path may be the host's, which is not mounted; the files then lie at the top.
    for (std::string path = line.substr(second + 1);; path.resize(path.find_last_of('/'))) {
      visit(mount + path);
      if (path.find_last_of('/') == std::string::npos) break;
    }
  }
}

constexpr int64_t kMuch = int64_t(1) << 60;  // version 1 says "unlimited" with numbers about 2^63

}  // namespace

int physical_cores(const std::string& root) {
  return count_cores(root, cpu_list(first_line(root + "/sys/devices/system/cpu/online")));
}

int affinity_cores(const std::string& root) {
  // A kernel with more CPUs than the set holds answers EINVAL; take a larger one then.
  for (int capacity = CPU_SETSIZE; capacity <= 1 << 16; capacity *= 4) {
    cpu_set_t* set = CPU_ALLOC(capacity);
    const size_t bytes = CPU_ALLOC_SIZE(capacity);
    std::vector<int> cpus;
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    for (int cpu = 0; known && cpu < capacity; cpu++)
      if (CPU_ISSET_S(cpu, bytes, set)) cpus.push_back(cpu);
    CPU_FREE(set);
    if (known) return count_cores(root, cpus);
  }
  return 0;
}

int cgroup_cpu_quota(const std::string& root) {
  int64_t least = kMuch;
  auto consider = [&](int64_t quota, int64_t period) {
    if (quota > 0 && period > 0) least = std::min(least, std::max<int64_t>(1, quota / period));
  };
  walk_cgroup(root, nullptr, [&](const std::string& folder) {
    std::stringstream fields(first_line(folder + "/cpu.max"));
    std::string quota, period;
    fields >> quota >> period;  // "max" is no number
    consider(number(quota, 1, kMuch, 0), number(period, 1, kMuch, 0));
  });
  walk_cgroup(root, "cpu", [&](const std::string& folder) {
    consider(number(first_line(folder + "/cpu.cfs_quota_us"), 1, kMuch, 0),
             number(first_line(folder + "/cpu.cfs_period_us"), 1, kMuch, 0));
  });
  return least == kMuch ? 0 : int(std::min<int64_t>(least, 1 << 16));
}

size_t memory_limit(const std::string& root) {
  int64_t least = kMuch;
  std::ifstream meminfo(root + "/proc/meminfo");
  std::string key;
  int64_t kilobytes = 0;
  if (meminfo >> key >> kilobytes && key == "MemTotal:") least = kilobytes * 1024;
  auto consider = [&](const std::string& path) { least = std::min(least, number(first_line(path), 1, kMuch, kMuch)); };
  walk_cgroup(root, nullptr, [&](const std::string& folder) { consider(folder + "/memory.max"); });
  walk_cgroup(root, "memory", [&](const std::string& folder) { consider(folder + "/memory.limit_in_bytes"); });
  return size_t(least);
}

ThreadBounds default_threads(const std::string& root) {
  constexpr int kMost = 1 << 16;
  auto variable = [](const char* name) { return std::string(std::getenv(name) ? std::getenv(name) : ""); };
  const std::string omp = variable("OMP_NUM_THREADS");  // a list where parallel regions nest
  const struct {
    const char* name;
    int64_t threads;  // 0: no such bound
  } bounds[] = {
      {"physical cores", physical_cores(root)},
      {"affinity", affinity_cores(root)},
      {"cgroup quota", cgroup_cpu_quota(root)},
      {"OMP_NUM_THREADS", number(omp.substr(0, omp.find(',')), 1, kMost, 0)},
      {"PYNN_NUM_THREADS", number(variable("PYNN_NUM_THREADS"), 1, kMost, 0)},
  };
  ThreadBounds best{kMost, "physical cores"};
  for (const auto& [name, threads] : bounds)
    if (threads && threads < best.threads) best = {int(threads), name};
  if (best.threads == kMost) best.threads = std::max(1, int(std::thread::hardware_concurrency()));
  return best;
}

namespace {

int checked_variable(const char* name, int low, int high, int otherwise) {
  const char* text = std::getenv(name);
  if (!text || !*text) return otherwise;
  const int64_t value = number(text, low, high, -1);
  if (value < 0)
    throw std::invalid_argument(std::string(name) + " is '" + text + "'; expected a whole number from " +
                                std::to_string(low) + " to " + std::to_string(high));
  return int(value);
}

}  // namespace

int spin_microseconds(int otherwise) { return checked_variable("PYNN_SPIN_US", 0, 1000, otherwise); }

void check_environment() { checked_variable("PYNN_NUM_THREADS", 1, 1 << 16, 0); }

}  // namespace pynn
