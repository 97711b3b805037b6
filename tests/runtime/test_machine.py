"""The size rule and the memory limit, on made-up machines."""

from pathlib import Path

import pytest

import pynn
from pynn import _core


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("OMP_NUM_THREADS", "PYNN_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def write(root: Path, files: dict[str, str]) -> str:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return str(root)


def cpus(siblings: dict[int, str]) -> dict[str, str]:
    files = {f"sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list": s for i, s in siblings.items()}
    return {**files, "sys/devices/system/cpu/online": ",".join(map(str, siblings))}


def test_hardware_threads_of_a_core_count_once(tmp_path):
    root = write(tmp_path, cpus({0: "0,4", 1: "1,5", 4: "0,4", 5: "1,5"}))
    assert _core.machine(root)["physical_cores"] == 2


def test_lists_of_cpus(tmp_path):
    root = write(tmp_path, {"sys/devices/system/cpu/online": "0-2,5,8-9"})  # no topology: each is a core
    assert _core.machine(root)["physical_cores"] == 6


def test_nothing_known(tmp_path):
    machine = _core.machine(str(tmp_path))
    assert machine["physical_cores"] == 0 and machine["cgroup_cpu_quota"] == 0
    assert machine["default_threads"] == machine["affinity_cores"] and machine["bound"] == "affinity"


QUOTAS = {
    "none": ({"sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 0),
    "own": ({"sys/fs/cgroup/a/b/cpu.max": "250000 100000"}, 2),
    "less than a core": ({"sys/fs/cgroup/a/b/cpu.max": "50000 100000"}, 1),
    "of a parent": ({"sys/fs/cgroup/a/b/cpu.max": "max 100000", "sys/fs/cgroup/a/cpu.max": "300000 100000"}, 3),
    "the least": ({"sys/fs/cgroup/a/b/cpu.max": "800000 100000", "sys/fs/cgroup/a/cpu.max": "300000 100000"}, 3),
    "at the top of a container": ({"sys/fs/cgroup/cpu.max": "400000 100000"}, 4),
    "malformed": ({"sys/fs/cgroup/a/b/cpu.max": "many"}, 0),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_quota_of_version_2(tmp_path, name):
    files, expected = QUOTAS[name]
    assert _core.machine(write(tmp_path, {"proc/self/cgroup": "0::/a/b", **files}))["cgroup_cpu_quota"] == expected


def test_quota_of_version_1(tmp_path):
    group = {"proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/docker/c\n0::/"}
    folder = "sys/fs/cgroup/cpu,cpuacct"
    own = {f"{folder}/docker/c/cpu.cfs_quota_us": "-1", f"{folder}/docker/c/cpu.cfs_period_us": "100000"}
    root = write(tmp_path, {**group, **own})
    assert _core.machine(root)["cgroup_cpu_quota"] == 0
    write(tmp_path, {f"{folder}/docker/cpu.cfs_quota_us": "150000", f"{folder}/docker/cpu.cfs_period_us": "50000"})
    assert _core.machine(root)["cgroup_cpu_quota"] == 3


def test_which_bound_wins(tmp_path, monkeypatch):
    one = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000 100000"}
    root = write(tmp_path, {**cpus({i: str(i) for i in range(64)}), **one})
    assert (_core.machine(root)["default_threads"], _core.machine(root)["bound"]) == (1, "cgroup quota")
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("max 100000\n")
    assert _core.machine(root)["bound"] == "affinity"  # this process does not have 64 cores
    monkeypatch.setenv("PYNN_NUM_THREADS", "1")
    if _core.machine(root)["affinity_cores"] > 1:
        assert _core.machine(root)["bound"] == "PYNN_NUM_THREADS"


def test_memory_limit(tmp_path):
    root = write(tmp_path, {"proc/meminfo": "MemTotal:       1000 kB", "proc/self/cgroup": "0::/a\n4:memory:/b"})
    assert _core.machine(root)["memory_limit"] == 1000 * 1024
    write(tmp_path, {"sys/fs/cgroup/a/memory.max": "max", "sys/fs/cgroup/memory.max": "500000"})
    assert _core.machine(root)["memory_limit"] == 500000
    write(tmp_path, {"sys/fs/cgroup/memory/b/memory.limit_in_bytes": "400000"})
    assert _core.machine(root)["memory_limit"] == 400000
    write(tmp_path, {"sys/fs/cgroup/memory/b/memory.limit_in_bytes": "9223372036854771712"})  # version 1's "unlimited"
    assert _core.machine(root)["memory_limit"] == 500000


def test_detection_agrees_with_the_kernel():
    flags = next(
        (
            line.split(":")[1].split()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("flags")
        ),
        None,
    )
    if flags is None:
        pytest.skip("/proc/cpuinfo has no x86 flags")
    needed = {
        "baseline": {"sse4_1", "sse4_2", "ssse3", "popcnt", "cx16"},
        "avx2": {"avx2", "fma", "bmi1", "bmi2", "f16c", "abm", "movbe"},
        "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"},
    }
    expected = []
    for isa, names in needed.items():
        if not names <= set(flags):
            break
        expected.append(isa)
    assert _core.supported_isas() == expected


def test_info():
    info = pynn.info()
    assert info["version"] == pynn.__version__ and info["isa"] in info["supported_isas"]
    assert info["threads"] == pynn.get_num_threads()
    assert 0 < info["pool_cap"] <= info["memory_limit"]
    lines = repr(info).splitlines()
    assert len(lines) == len(info) and lines[0].split() == ["version", pynn.__version__]
    with pynn.threads(5):
        assert pynn.info()["threads_from"] == "threads"
