"""The timing loop.

Every library runs in a process of its own, with its thread settings made before it is imported, and answers
one command at a time; so while one works, the others sleep. (Two spinning thread pools in one process measure
each other.) pynn and each peer alternate in blocks of at least 20 ms whose first quarter is dropped: it pays
for cold caches, threads that wake up and a clock that settles. A round gives one ratio; the median over the
rounds is reported with its quartiles.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from .row import Call, Row

BLOCK_SECONDS = 0.02
LONG_CALL_SECONDS = 0.2  # from here on a single call is a block, and nothing of it is dropped


def calls_per_block(call: Callable[[], Any]) -> int:
    """How many calls make a block; warms up on the way."""
    calls = 1
    while True:
        start = perf_counter()
        for _ in range(calls):
            call()
        seconds = perf_counter() - start
        if seconds >= BLOCK_SECONDS:
            return 1 if seconds / calls >= LONG_CALL_SECONDS else max(calls, 4)
        calls = max(2 * calls, int(1.1 * calls * BLOCK_SECONDS / max(seconds, 1e-6)) if seconds > 1e-3 else 0)


def time_block(call: Callable[[], Any], calls: int) -> float:
    """Seconds a call, over the last three quarters of a block."""
    dropped = calls // 4
    for _ in range(dropped):
        call()
    start = perf_counter()
    for _ in range(calls - dropped):
        call()
    return (perf_counter() - start) / (calls - dropped)


def faster(calls: list[Call]) -> Call:
    """The one whose fastest of some runs is the fastest: for a peer in its best setting."""

    def seconds(call: Call) -> float:
        best = math.inf
        for _ in range(10):
            start = perf_counter()
            call()
            best = min(best, perf_counter() - start)
        return best

    return min(calls, key=seconds)


@dataclass
class Comparison:
    """Seconds of the peer, and the ratio peer / pynn: above 1, pynn is faster."""

    seconds: float
    ratio: float
    low: float  # quartiles of the ratio over the rounds
    high: float


@dataclass
class Measurement:
    seconds: float
    peers: dict[str, Comparison]
    share: float | None  # of the FMA peak at the clock of the moment or of a copy, by what the row states


def measure(row: Row, index: int, workers: dict[str, Any], rounds: int) -> Measurement:
    """Checks that all libraries agree on `row`, then times it. `workers`: Workers by library, pynn first."""
    names = [name for name in workers if name == "pynn" or workers[name].has(row)]
    peers = names[1:]
    outputs = {name: workers[name].ask("prepare", type(row).__module__, index) for name in names}
    for peer in peers:
        difference = row.agree(outputs["pynn"], outputs[peer])
        if difference:
            raise AssertionError(f"{row.family}, {row.name}: pynn and {peer} disagree: {difference}")
    for name in names:
        workers[name].ask("calibrate")
    work = row.flops or row.bytes
    if work:
        workers["pynn"].ask("prepare_roof", row.flops, row.bytes)

    ours: list[float] = []
    shares: list[float] = []
    pairs: dict[str, list[tuple[float, float]]] = {peer: [] for peer in peers}

    def time(name: str) -> float:
        seconds, roof_rate = workers[name].ask("time")
        if name == "pynn":
            ours.append(seconds)
            if work:
                shares.append(work / seconds / roof_rate)
        return seconds

    for turn in range(rounds):
        for peer in peers:
            order = ("pynn", peer) if turn % 2 == 0 else (peer, "pynn")
            seconds = {name: time(name) for name in order}
            pairs[peer].append((seconds["pynn"], seconds[peer]))
        if not peers:
            time("pynn")
    return Measurement(
        seconds=statistics.median(ours),
        peers={peer: compare(pairs[peer]) for peer in peers},
        share=statistics.median(shares) if shares else None,
    )


def compare(pairs: list[tuple[float, float]]) -> Comparison:
    ratios = [theirs / ours for ours, theirs in pairs]
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Comparison(statistics.median(theirs for _, theirs in pairs), ratio, low, high)
