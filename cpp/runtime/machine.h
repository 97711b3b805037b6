// What this machine and this process may use: instruction sets, cores, quota, memory.
#pragma once
#include <cstddef>
#include <string>

namespace pynn {

bool cpu_supports(const std::string& isa);  // by cpuid and by what the operating system saves

struct ThreadBounds {
  int threads;  // max(1, the smallest bound)
  std::string
      bound;  // which one won: "physical cores", "affinity", "cgroup quota", "OMP_NUM_THREADS", "PYNN_NUM_THREADS"
};
ThreadBounds default_threads();  // throws std::invalid_argument where a variable is not a positive number
size_t memory_limit();           // bytes: the cgroup's limit or the machine's memory
std::string cpu_name();

}  // namespace pynn
