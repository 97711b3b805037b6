"""python -m benchmarks [family ...] [--peers numpy,torch] [--threads N] [--json FILE] [--quick]"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from . import machine, report, timing
from .row import Row
from .worker import SINGLE, Worker

# The files of rows, by the names that the command line takes.
FAMILIES = {
    "gemm": "gemm",
    "conv2d": "conv2d",
    "activation": "activation",
    "elementwise": "elementwise",
    "loss": "loss",
    "optimizer": "optimizer",
    "pool2d": "pool2d",
    "random": "random",
    "training": "training",
    "inference": "inference",
    "scaling": "scaling",
    "import": "import_time",
}
PEERS = ("numpy", "torch", "sklearn", "onnxruntime")
COPY_BYTES = 256e6  # far beyond the caches


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Times pynn beside its peers.")
    parser.add_argument("families", nargs="*", metavar="family", help=f"of {', '.join(FAMILIES)}; all unless told")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated; '' times pynn alone")
    parser.add_argument("--threads", type=int, default=1, help="of every library (default 1)")
    parser.add_argument("--match", default="", help="only rows whose name contains this")
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 7")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")
    parser.add_argument(
        "--markdown",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="time nothing: print README's table from stored results (the newest unless told)",
    )
    options = parser.parse_args()
    unknown = [name for name in options.families if name not in FAMILIES]
    if unknown:
        parser.error(f"unknown family {unknown[0]!r}; known: {', '.join(FAMILIES)}")
    options.peers = [peer for peer in options.peers.split(",") if peer]
    if set(options.peers) - set(PEERS):
        parser.error(f"unknown peer in {options.peers}; known: {', '.join(PEERS)}")
    if options.threads < 1:
        parser.error("--threads: expected a positive number")
    return options


def main() -> int:
    options = arguments()
    if options.markdown is not None:
        for path in options.markdown or report.newest():
            print(report.tables(json.loads(path.read_text()), readme_only=True), end="\n\n")
        return 0
    selected = [
        (row, index)
        for family in options.families or FAMILIES
        for index, row in enumerate(rows_of(FAMILIES[family]))
        if options.match in row.name
    ]
    workers = start(options, [row for row, _ in selected])
    result = header(options, workers)
    print(report.heading(result), flush=True)
    result["rows"] = []
    for row, index in selected:
        record = time_row(row, index, workers, rounds=3 if options.quick else 7)
        result["rows"].append(record)
        print(f"{row.family:>12} " + "  ".join(report.cells(record, list(record.get("peers", ())))), flush=True)
    for worker in workers.values():
        worker.close()
    print("\n" + report.tables(result))
    if options.json:
        report.save(result, options.json)
    return any("error" in record for record in result["rows"])


def rows_of(module: str) -> list[Row]:
    return importlib.import_module(f"benchmarks.{module}").ROWS


def start(options: argparse.Namespace, rows: list[Row]) -> dict[str, Worker]:
    """A process for pynn and for every wanted peer that has a row."""
    names = [peer for peer in options.peers if any(hasattr(row, peer) for row in rows)]
    workers = {name: Worker(name, options.threads) for name in ("pynn", *names)}
    if options.threads > 1 and any(row.scaling for row in rows):
        workers[SINGLE] = Worker(SINGLE, 1)
    return workers


def header(options: argparse.Namespace, workers: dict[str, Worker]) -> dict[str, Any]:
    # The answers come when every process has imported its library, which keeps the cores busy until then.
    versions = {name: worker.ask("version") for name, worker in workers.items()}
    versions.pop(SINGLE, None)
    pynn = workers["pynn"]
    pynn.ask("prepare_roof", 1, 0)
    peak = pynn.ask("roof_rate") / 1e9
    pynn.ask("prepare_roof", 0, COPY_BYTES)
    copy = pynn.ask("roof_rate") / 1e9
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(),
        "isa": pynn.ask("isa"),
        "threads": options.threads,
        "versions": versions,
        "peak_gflops": peak,
        "copy_gbytes": copy,
    }


def time_row(row: Row, index: int, workers: dict[str, Worker], rounds: int) -> dict[str, Any]:
    try:
        return report.row_record(row, timing.measure(row, index, workers, rounds))
    except (AssertionError, RuntimeError) as error:
        return report.failure_record(row, error)


if __name__ == "__main__":
    sys.exit(main())
