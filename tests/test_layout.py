"""The house rules of docs/design.md, kept by reading the tree."""

from __future__ import annotations

import ast
import re
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("pynn", "cpp", "cuda", "tests", "benchmarks", "examples", "docs")
HARD_LIMIT, SOFT_LIMIT = 600, 400  # lines


def files(*folders: str, suffixes: tuple[str, ...]) -> list[Path]:
    found = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in suffixes]
    return sorted(p for p in found if "__pycache__" not in p.parts)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Rule 1: an op has one file name everywhere. What an op does not have in a room, this table says and why.

OPS = re.findall(r"^\s+X\((\w+), \w+\)", (ROOT / "cpp/op_list.h").read_text(), re.MULTILINE)

ROOMS = {
    "contract": "cpp/ops/{}.h",
    "kernel": "cpp/kernels/{}.cpp",
    "binding": "cpp/bindings/{}.cpp",
    "op": "pynn/ops/{}.py",
    "reference": "pynn/reference/{}.py",
    "test": "tests/ops/test_{}.py",
}

ELSEWHERE = {
    ("copy", "binding"): "cpp/bindings/views.cpp",
    ("copy", "op"): "pynn/tensor.py",
    ("copy", "reference"): "",  # NumPy's own copy is the reference
    ("optimizer", "op"): "pynn/optim/optimizer.py",
    ("optimizer", "test"): "tests/optim/test_optim.py",
    ("random", "op"): "pynn/random.py",
    ("peak", "op"): "benchmarks/machine.py",  # the machine's roofs, for benchmarks alone
    ("peak", "reference"): "",
}


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("op", OPS)
def test_an_op_has_one_file_name_everywhere(op, room):
    path = ELSEWHERE.get((op, room), ROOMS[room].format(op))
    assert not path or (ROOT / path).is_file(), f"op '{op}' of op_list.h: expected its {room} in {path}"


def test_the_op_list_is_sorted_and_complete():
    assert sorted(OPS) == OPS
    assert {p.stem for p in files("cpp/ops", suffixes=(".h",))} == set(OPS)
    for path in files("cpp/kernels", suffixes=(".cpp",)):
        assert any(path.stem == op or path.stem.startswith(op + "_") for op in OPS), (
            f"{name(path)} belongs to no op of op_list.h"
        )


def test_cuda_kernels_implement_contracts_of_cpp():
    for path in files("cuda/kernels", suffixes=(".cu",)):
        assert any(path.stem == op or path.stem.startswith(op + "_") for op in OPS), f"{name(path)} has no contract"


# Rule 2: arrows go down only.

LEVELS = (  # a module may import from its own level and from later ones
    ("cli", "__main__"),
    ("train", "viz"),
    ("models",),
    ("datasets", "data", "io"),
    ("nn", "optim"),
    ("kernels",),
    (
        "ops",
        "tensor",
        "creation",
        "autograd",
        "program",
        "random",
        "runtime",
    ),  # the tape and the tensor know each other
    ("_core",),
)
LEVEL_OF = {module: level for level, modules in enumerate(LEVELS) for module in modules}
ANYWHERE = {
    "__init__",
    "reference",
}  # the package's list of names; the plain-NumPy oracle, which imports nothing of pynn


def imported_pynn_modules(path: Path) -> set[str]:
    """First names below `pynn` that a module imports while it is being imported."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in top_level_imports(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            target = [*base, *(node.module.split(".") if node.module else [])]
            names = [[*target, alias.name] for alias in node.names]
        else:
            names = [alias.name.split(".") for alias in node.names]
        found |= {full[1] for full in names if full[0] == "pynn" and len(full) > 1}
    return found


def top_level_imports(tree: ast.AST):
    """Imports outside functions: those inside are late on purpose."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not is_typing_only(node):
            yield from top_level_imports(node)


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@pytest.mark.parametrize("path", files("pynn", suffixes=(".py",)), ids=name)
def test_python_imports_go_down_only(path):
    room = path.relative_to(ROOT / "pynn").with_suffix("").parts[0]
    if room in ANYWHERE:
        allowed = set(LEVEL_OF) if room == "__init__" else set()
    else:
        assert room in LEVEL_OF, f"{name(path)}: '{room}' has no level in this test; docs/design.md shows the rooms"
        allowed = {module for module, level in LEVEL_OF.items() if level >= LEVEL_OF[room]}
    for module in imported_pynn_modules(path):
        if module in LEVEL_OF or module in ("reference",):
            assert module in allowed or room == module, f"{name(path)} imports pynn.{module}, which is above it"


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s+([<"][^>"]+[>"])', path.read_text(), re.MULTILINE)


CPP = (".h", ".cpp", ".cu", ".cuh")


@pytest.mark.parametrize("path", files("cpp", "cuda", suffixes=CPP), ids=name)
def test_cpp_includes_go_down_only(path):
    room = path.relative_to(ROOT).parts[1] if len(path.relative_to(ROOT).parts) > 2 else "dispatch"
    allowed = {  # what each room may include of the others
        "bindings": ("bindings/", "dispatch.h", "ops/", "runtime/"),
        "dispatch": ("dispatch.h", "op_list.h", "ops/", "runtime/"),
        "kernels": ("kernels/", "ops/", "simd/", "runtime/"),
        "simd": ("simd/", "ops/", "runtime/"),
        "ops": ("ops/", "runtime/"),
        "runtime": ("runtime/",),
    }[room]
    for include in includes(path):
        if include.startswith('"'):
            assert include[1:-1].startswith(allowed), f"{name(path)} includes {include}; {room} may include {allowed}"


# Rule 3: only kernels see instruction-set flags, only bindings see Python.


def test_only_kernels_are_compiled_with_instruction_set_flags():
    lines = (ROOT / "CMakeLists.txt").read_text().splitlines()
    for line in lines:
        if re.search(r"(?<=[ (\"])-m(?!ath)\w", line):
            assert line.strip().startswith("set(flags_"), f"CMakeLists.txt: {line.strip()}"
        if "${flags_" in line:
            assert line.strip().startswith("target_compile_options(pynn_${isa} "), f"CMakeLists.txt: {line.strip()}"


@pytest.mark.parametrize("path", files("cpp", suffixes=CPP), ids=name)
def test_only_bindings_see_python(path):
    if path.parent.name != "bindings":
        python = [i for i in includes(path) if "pybind11" in i or "Python.h" in i or "numpy" in i]
        assert not python, f"{name(path)} includes {python}"
    assert not any("numpy" in i for i in includes(path)), f"{name(path)}: no NumPy headers"


C_HEADERS = {
    "<math.h>",
    "<stddef.h>",
    "<stdint.h>",
    "<cstddef>",
    "<cstdint>",
    "<immintrin.h>",
    "<arm_neon.h>",
}


@pytest.mark.parametrize("path", files("cpp/kernels", "cpp/simd", suffixes=CPP), ids=name)
def test_kernels_use_nothing_of_std(path):
    system = {i for i in includes(path) if i.startswith("<")}
    assert system <= C_HEADERS, f"{name(path)} includes {system - C_HEADERS}"
    code = re.sub(r"//.*|\"[^\"\n]*\"", "", path.read_text())
    for word in (r"std::", r"\bthrow\b", r"\btry\b", r"\bthread_local\b", r"\bnew\b", r"\bmalloc\b"):
        assert not re.search(word, code), f"{name(path)} uses {word}"
    assert "namespace pynn::PYNN_ISA {" in code, f"{name(path)} is not in the namespace of its instruction set"


@pytest.mark.parametrize("path", files("cpp/ops", suffixes=(".h",)), ids=name)
def test_contracts_are_plain(path):
    assert {i for i in includes(path) if i.startswith("<")} <= C_HEADERS, name(path)


# Rule 4: short files, shallow folders. No printing from the library.


@pytest.mark.filterwarnings("default:.*; aim at:UserWarning")
def test_files_are_short_and_folders_shallow():
    for path in files(*SOURCES, suffixes=(*CPP, ".py", ".md")):
        lines = path.read_text().count("\n")
        assert lines <= HARD_LIMIT, f"{name(path)} has {lines} lines, at most {HARD_LIMIT}"
        if lines > SOFT_LIMIT:
            warnings.warn(f"{name(path)} has {lines} lines; aim at {SOFT_LIMIT}", stacklevel=1)
        assert len(path.relative_to(ROOT).parts) <= 4, f"{name(path)} is deeper than three folders"


@pytest.mark.parametrize("path", files("pynn", suffixes=(".py",)), ids=name)
def test_the_library_does_not_print(path):
    if name(path) in ("pynn/cli.py", "pynn/train/progress.py"):
        pytest.skip("talks to the user")
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not any(isinstance(n.func, ast.Name) and n.func.id == "print" for n in calls), name(path)


@pytest.mark.parametrize("path", files("cpp", suffixes=CPP), ids=name)
def test_the_library_does_not_print_from_cpp(path):
    assert not re.search(r"\b(printf|puts|std::cout|std::cerr)\b", path.read_text()), name(path)


def test_no_unfinished_work_is_left_in_the_code():
    marks = re.compile("TO" + "DO|FIX" + "ME|X" + "XX")
    for path in files(*SOURCES, suffixes=(*CPP, ".py")):
        assert not marks.search(path.read_text()), name(path)
