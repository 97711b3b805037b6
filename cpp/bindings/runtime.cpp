// Threads, memory and the machine, as pynn/runtime.py shows them.
#include "bindings/families.h"
#include "dispatch.h"
#include "runtime/machine.h"
#include "runtime/system_memory.h"
#include "runtime/team.h"
#include "runtime/workspace.h"

namespace pynn {
namespace {

constexpr int kMostThreads = 1024;

int checked_threads(int64_t n, const char* function) {
  if (n < 1 || n > kMostThreads)
    fail(std::string(function) + ": expected 1 to " + std::to_string(kMostThreads) + " threads, got " +
         std::to_string(n));
  return int(n);
}

py::dict memory_stats() {
  const PoolStats pool = pool_stats();
  py::dict d;
  d["live_bytes"] = pool.live;
  d["cached_bytes"] = pool.cached;
  d["peak_bytes"] = pool.peak;
  d["cap_bytes"] = pool.cap;
  d["workspace_bytes"] = workspace_bytes();
  d["allocations"] = pool.allocations;
  d["cache_hits"] = pool.hits;
  return d;
}

py::dict machine(const std::string& root) {
  const ThreadBounds bounds = default_threads(root);
  py::dict d;
  d["cpu"] = cpu_name();
  d["physical_cores"] = physical_cores(root);
  d["affinity_cores"] = affinity_cores(root);
  d["cgroup_cpu_quota"] = cgroup_cpu_quota(root);
  d["memory_limit"] = memory_limit(root);
  d["default_threads"] = bounds.threads;
  d["bound"] = bounds.bound;
  return d;
}

}  // namespace

void bind_runtime(py::module_& m) {
  m.def("check_environment", [] {
    check_environment();
    set_spin_microseconds(spin_microseconds(kSpinMicroseconds));  // once: a worker could not report a bad value
  });
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", [](int64_t n) {
    const int checked = checked_threads(n, "set_num_threads");
    py::gil_scoped_release unlocked;  // it may wait for a computation that ends with the GIL
    set_num_threads(checked);
  });
  m.def("local_threads", &local_threads);
  m.def(
      "set_local_threads", [](int64_t n) { set_local_threads(n ? checked_threads(n, "threads") : 0); },
      "This thread's own number of threads; 0 takes it back.");
  m.def("set_spin_microseconds", [](int64_t us) {
    if (us < 0 || us > 1000) fail("set_spin_microseconds: expected 0 to 1000, got " + std::to_string(us));
    set_spin_microseconds(int(us));
  });
  m.def("always_use_team", &always_use_team,
        "For tests: every call of two or more tasks uses all its threads, whatever they cost.");
  m.def("team_workers", &team_workers);
  m.def("stop_team", &stop_team, py::call_guard<py::gil_scoped_release>());
  m.def("memory_stats", memory_stats);
  m.def("release_memory", [] {
    py::gil_scoped_release unlocked;
    stop_team();  // the workers' scratch goes with them
    release_workspaces();
    release_cached();
  });
  m.def("set_pool_cap", &set_pool_cap);
  m.def("machine", machine, py::arg("root") = "");
  m.def("built_isas", &built_isas);
  m.attr("build_flags") = PYNN_BUILD_FLAGS;
}

}  // namespace pynn
