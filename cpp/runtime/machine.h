// What this machine and this process may use: instruction sets, cores, quota, memory.
#pragma once
#include <cstddef>
#include <string>

namespace pynn {

bool cpu_supports(const std::string& isa);  // by cpuid and by what the operating system saves
std::string cpu_name();

// `root` is put before /proc and /sys, for tests with made-up files.
int physical_cores(const std::string& root = "");    // hardware threads of one core count once; 0: unknown
int affinity_cores(const std::string& root = "");    // of them, those that this process may run on
int cgroup_cpu_quota(const std::string& root = "");  // whole cores, at least 1; 0: no quota
size_t memory_limit(const std::string& root = "");   // bytes: the cgroup's limit or the machine's memory

struct ThreadBounds {
  int threads;        // max(1, the smallest bound)
  std::string bound;  // the first that is smallest: "physical cores", "affinity", "cgroup quota", "OMP_NUM_THREADS",
                      // "PYNN_NUM_THREADS"
};
ThreadBounds default_threads(const std::string& root = "");

// Both throw std::invalid_argument that names the variable and its value.
void check_environment();              // PYNN_NUM_THREADS
int spin_microseconds(int otherwise);  // PYNN_SPIN_US

}  // namespace pynn
