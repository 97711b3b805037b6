"""What the compiled files contain: no instruction or symbol of one instruction set may reach another.

The tests of object files need a build tree: PYNN_BUILD_DIR, or build-dev of `.ci/dev-build`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pynn import _core

ROOT = Path(__file__).parent.parent
BUILD = Path(os.environ.get("PYNN_BUILD_DIR", ROOT / "build-dev"))
CACHE = BUILD / "CMakeCache.txt"
ISAS = ("baseline", "avx2", "avx512")


def tool(name: str, *arguments: str | Path) -> str:
    if not shutil.which(name):
        pytest.skip(f"needs {name}")
    return subprocess.run([name, *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def objects(target: str) -> list[Path]:
    if not CACHE.is_file():
        pytest.skip(f"needs a build tree; none in {BUILD}")
    cache = CACHE.read_text()
    if not re.search(r"CMAKE_BUILD_TYPE:\w+=Release", cache) or re.search(r"PYNN_SANITIZE:\w+=[at]", cache):
        pytest.skip("the build tree is no release build")
    return sorted((BUILD / f"CMakeFiles/{target}.dir").rglob("*.o"))


def kernel_objects(isa: str) -> list[Path]:
    if not (found := objects(f"pynn_{isa}")):
        pytest.skip(f"{isa} is not built here")
    return found


@pytest.mark.parametrize("isa", ISAS)
def test_kernels_define_symbols_in_their_own_namespace_only(isa):
    """The linker merges weak symbols of equal name, so one outside could run AVX-512 code on an older CPU."""
    own = re.compile(rf"_ZZ*NK?4pynn{len(isa)}{isa}")  # the mangled beginning of pynn::<isa>::
    for path in kernel_objects(isa):
        for line in tool("nm", "--defined-only", path).splitlines():
            kind, symbol = line[17], line[19:]
            assert kind != "u", f"{path.name}: {symbol} is unique over the whole process"
            if kind in "TDBRWVi":
                assert own.match(symbol), f"{path.name}: {kind} {symbol}"


# In objdump's columns (address, mnemonic, operands): an instruction with a VEX or EVEX prefix; a 512-bit register,
# a mask register or a vector register above 15.
VEX = re.compile(r"\tv(?!err|erw)[a-z0-9]+ ")
EVEX = re.compile(r"%zmm|%k[0-7]\b|%[xy]mm(?:1[6-9]|2\d|3[01])\b")


def disassembly(path: Path) -> list[str]:
    return tool("objdump", "-d", "--no-show-raw-insn", path).splitlines()


@pytest.mark.parametrize("target", ["pynn_baseline", "pynn_runtime", "_core"])
def test_code_for_any_cpu_has_no_avx(target):
    for path in objects(target):
        found = [line for line in disassembly(path) if VEX.search(line) or EVEX.search(line)]
        assert not found, f"{path.name}: {found[0]}"


def test_avx2_code_has_no_avx512():
    for path in kernel_objects("avx2"):
        found = [line for line in disassembly(path) if EVEX.search(line)]
        assert not found, f"{path.name}: {found[0]}"


def test_vector_code_is_there():
    """Guards the two tests above: the patterns find what they look for."""
    avx512 = [line for path in kernel_objects("avx512") for line in disassembly(path)]
    assert any("%zmm" in line for line in avx512) and any(VEX.search(line) for line in avx512)


def test_kernels_initialise_nothing_at_load():
    for isa in ISAS:
        for path in objects(f"pynn_{isa}"):
            assert ".init_array" not in tool("objdump", "-h", path), path.name


def test_no_openmp_and_no_blas_is_linked():
    libraries = re.findall(r"^\s*(\S+)", tool("ldd", _core.__file__), re.MULTILINE)
    allowed = r"(linux-vdso|.*ld-linux|ld-musl|libc|libm|libgcc_s|libstdc\+\+|libpthread|lib[atu]+san)[.\-]"
    foreign = [library for library in libraries if not re.match(allowed, library)]
    assert not foreign


def test_only_the_module_entry_is_exported():
    lines = tool("nm", "-D", "--defined-only", _core.__file__).splitlines()
    assert [line.split()[-1] for line in lines] == ["PyInit__core"]


def test_numpy_is_not_used_through_its_c_interface():
    symbols = tool("nm", "-D", _core.__file__)
    assert "PyArray" not in symbols and "npy_" not in symbols
    assert b"_ARRAY_API" not in Path(_core.__file__).read_bytes()
