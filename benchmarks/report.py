"""Results as JSON (kept in results/) and as Markdown tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .row import Row
from .timing import Measurement

RESULTS = Path(__file__).parent / "results"


def row_record(row: Row, measured: Measurement) -> dict[str, Any]:
    return {
        "family": row.family,
        "name": row.name,
        "readme": row.readme,
        "seconds": measured.seconds,
        "flops": row.flops,
        "bytes": row.bytes,
        "share": measured.share,
        "peers": {name: vars(peer) for name, peer in measured.peers.items()},
    }


def failure_record(row: Row, error: Exception) -> dict[str, Any]:
    return {"family": row.family, "name": row.name, "readme": row.readme, "error": str(error)}


def save(result: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def newest() -> list[Path]:
    """The stored runs of the latest date."""
    paths = sorted(RESULTS.glob("*.json"))
    return [path for path in paths if path.name[:10] == paths[-1].name[:10]]


def heading(result: dict[str, Any]) -> str:
    machine, versions = result["machine"], result["versions"]
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items())
    roofs = f"FMA peak {result['peak_gflops']:.0f} GFLOP/s, copy {result['copy_gbytes']:.0f} GB/s"
    where = f"{machine['cpu']}, {machine['cores']} cores, {threads}, {result['isa']}"
    return f"{where}; {roofs}; {libraries}; {result['date']}"


def tables(result: dict[str, Any], readme_only: bool = False) -> str:
    """A Markdown table per family. `x name` is the peer's time over ours; above 1, pynn is faster."""
    rows = [row for row in result["rows"] if row["readme"] or not readme_only]
    parts = [heading(result)]
    for family in dict.fromkeys(row["family"] for row in rows):
        members = [row for row in rows if row["family"] == family]
        peers = list(dict.fromkeys(peer for row in members for peer in row.get("peers", ())))
        head = [family, "time", "rate", "of roof", *(f"x {peer}" for peer in peers)]
        lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
        lines += [cells(row, peers) for row in members]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)


def cells(row: dict[str, Any], peers: list[str]) -> list[str]:
    if "error" in row:
        return [row["name"], f"failed: {row['error'].splitlines()[0]}", "", "", *[""] * len(peers)]
    work, unit = (row["flops"], "GFLOP/s") if row["flops"] else (row["bytes"], "GB/s")
    rate = f"{work / row['seconds'] / 1e9:.1f} {unit}" if work else ""
    share = f"{row['share']:.0%}" if row["share"] else ""
    return [
        row["name"],
        duration(row["seconds"]),
        rate,
        share,
        *(ratio(row["peers"].get(peer)) for peer in peers),
    ]


def ratio(peer: dict[str, float] | None) -> str:
    return f"{peer['ratio']:.2f} ({peer['low']:.2f}-{peer['high']:.2f})" if peer else ""


def duration(seconds: float) -> str:
    for scale, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
