"""Measures decoding alone and the whole path of a record, beside Python stacks; many streams; many keys; memory over a long run."""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import version
from pathlib import Path

import keys
import long_run
import rows
import streams
from common import processor, replace_between, short
from daemon import Daemon

HERE = Path(__file__).resolve().parent
PEERS = {"csv": ["pandas", "polars", "duckdb"], "ndjson": ["pandas", "polars", "duckdb"], "influx": []}
PATHS = {"pandas": "pandas + PyTorch", "polars": "polars + ONNX Runtime"}


def options():
    parser = argparse.ArgumentParser(prog="Benchmarks/ingest/run", description=__doc__)
    parser.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--decoder", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="repeats, all sides in turn; default: %(default)s")
    parser.add_argument("--only", default="decode,path", help="of decode, path, streams, keys and memory; default: %(default)s")
    parser.add_argument("--streams", type=int, default=1000, help="how many streams; default: %(default)s")
    parser.add_argument("--keys", type=int, default=1000, help="how many keys; default: %(default)s")
    parser.add_argument("--first", type=int, default=500, help="records that each of them learns from; default: %(default)s")
    parser.add_argument("--members", type=int, default=0, help="flows of each model; default: the daemon's choice")
    parser.add_argument("--seconds", type=int, default=120, help="how long they are fed, twice; default: %(default)s")
    parser.add_argument("--fit-every", default="never", help="how often the long run fits, as 1m; default: %(default)s")
    parser.add_argument("--records", type=int, default=100_000_000, help="of the long run; default: %(default)s")
    parser.add_argument("--markdown", type=Path, help="a file whose part between the ingest markers to replace")
    return parser.parse_args()


def run(command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def median(runs, key):
    return statistics.median(r["rows"] / r[key] for r in runs)


def thousands(rate):
    return f"{rate / 1000:,.0f}"


def decode(chosen, paths):
    """Thousand records a second of CPU time, one thread."""
    found = {}
    for _ in range(chosen.rounds):
        for form in rows.FORMATS:
            sides = {"flowguard": [chosen.decoder, "product", form, paths[form], *rows.FEATURES]}
            if form == "ndjson":
                sides["simdjson alone"] = [chosen.decoder, "simdjson", form, paths[form], *rows.FEATURES]
            for peer in PEERS[form]:
                sides[peer] = [sys.executable, HERE / "side.py", "decode", peer, form, paths[form], 1]
            for name, command in sides.items():
                took = run(command)
                assert took["rows"] == chosen.rows, (name, took)
                found.setdefault((form, name), []).append(took)
                tell(f"decode {form} {name}: {thousands(took['rows'] / took['cpuSeconds'])}")
    names = ["flowguard", "simdjson alone", "pandas", "polars", "duckdb"]
    lines = ["| format | MB | " + " | ".join(names) + " |", "|---|--:|" + "--:|" * len(names)]
    rate = {key: median(runs, "cpuSeconds") for key, runs in found.items()}
    for form in rows.FORMATS:
        cells = [thousands(rate[form, n]) if (form, n) in rate else "-" for n in names]
        lines.append(f"| {form} | {paths[form].stat().st_size / 1e6:,.0f} | " + " | ".join(cells) + " |")
    goals = [("CSV beside polars on one thread", rate["csv", "flowguard"] / rate["csv", "polars"], 1),
             ("NDJSON beside simdjson alone", rate["ndjson", "flowguard"] / rate["ndjson", "simdjson alone"], 0.5)]
    return ("**Decoding alone**, one thread, thousand records a second of CPU time\n\n" + "\n".join(lines) + "\n\n"
            + table_of_goals(goals), rate)


def whole_path(chosen, paths, decoding):
    """Thousand records a second by the wall, two threads."""
    found = {}
    for _ in range(chosen.rounds):
        for form in rows.FORMATS:
            data = paths[form].read_bytes()
            if form == "csv":
                data = data[data.index(b"\n") + 1:]
            for way in ["file", "socket", "stdin"]:
                # A new connection has a header line of its own.
                offered = paths[form].read_bytes() if (form, way) == ("csv", "socket") else data
                daemon = Daemon(chosen.programs, form, way)
                try:
                    took = daemon.measure(offered, chosen.rows)
                finally:
                    daemon.close()
                found.setdefault((form, way), []).append(took)
                tell(f"path {form} {way}: {thousands(took['rows'] / took['wallSeconds'])}")
            for peer in PATHS if form == "csv" else []:
                took = run([sys.executable, HERE / "side.py", "path", peer, form, paths[form], 2])
                found.setdefault((form, peer), []).append(took)
                tell(f"path {form} {PATHS[peer]}: {thousands(took['rows'] / took['wallSeconds'])}")
    rate = {key: median(runs, "wallSeconds") for key, runs in found.items()}
    names = ["file", "socket", "stdin", *PATHS]
    lines = ["| format | " + " | ".join(PATHS.get(n, n) for n in names) + " | CPU µs a record, file | of it decoding |",
             "|---|" + "--:|" * (len(names) + 2)]
    for form in rows.FORMATS:
        cells = [thousands(rate[form, n]) if (form, n) in rate else "-" for n in names]
        spent = 1e6 / median(found[form, "file"], "cpuSeconds")
        share = 1e6 / decoding[form, "flowguard"] if decoding else None
        cells += [f"{spent:.2f}", f"{share:.2f}" if share else "-"]
        lines.append(f"| {form} | " + " | ".join(cells) + " |")
    csv = rate["csv", "file"]
    goals = [("CSV from a file, thousand records a second", csv / 1000, 300),
             ("CSV beside pandas + PyTorch", csv / rate["csv", "pandas"], 3),
             ("CSV beside polars + ONNX Runtime", csv / rate["csv", "polars"], 1.5),
             ("the socket beside the file", rate["csv", "socket"] / csv, 0.8)]
    return ("**The whole path**, two threads, thousand records a second by the wall: from the first byte offered to the last "
            "verdict committed\n\n" + "\n".join(lines) + "\n\n" + table_of_goals(goals))


def table_of_goals(goals):
    lines = ["| goal | found | wanted | |", "|---|--:|--:|---|"]
    for name, found, wanted in goals:
        verdict = "reached" if found >= wanted else "**not reached**"
        lines.append(f"| {name} | {short(found)} | at least {wanted:g} | {verdict} |")
    return "\n".join(lines) + "\n"


def tell(text):
    print("ingest: " + text, file=sys.stderr, flush=True)


def machine(load):
    return f"{os.cpu_count()} cores of {processor()}, load {load:.1f} at the beginning; Python {platform.python_version()}"


def compared(chosen, load):
    """Decoding and the whole path, beside the peers."""
    with tempfile.TemporaryDirectory() as folder:
        x = rows.numbers(chosen.rows, 2)
        paths = {form: Path(folder, f"records.{form}") for form in rows.FORMATS}
        for form, path in paths.items():
            rows.write(x, form, path)
        parts, decoding = [], None
        if "decode" in chosen.only:
            text, decoding = decode(chosen, paths)
            parts.append(text)
        if "path" in chosen.only:
            parts.append(whole_path(chosen, paths, decoding))
    parts.append(
        f"`Benchmarks/ingest/run`, {date.today()}: {chosen.rows:,} records of 8 columns, medians of {chosen.rounds}. "
        f"{machine(load)}, "
        + ", ".join(f"{p} {version(p)}" for p in ("pandas", "polars", "duckdb", "torch", "onnxruntime")) + ".\n")
    return "\n".join(parts)


def main():
    chosen = options()
    load = os.getloadavg()[0]
    parts = {}
    if "decode" in chosen.only or "path" in chosen.only:
        parts["ingest"] = compared(chosen, load)
    command = f"`Benchmarks/ingest/run --only %s`, {date.today()}: {machine(load)}.\n"
    if "streams" in chosen.only:
        found = streams.table(chosen.programs, chosen.streams, chosen.first, chosen.members, chosen.seconds, tell)
        members = f" --members {chosen.members}" if chosen.members else ""
        parts["streams"] = found + "\n" + command % ("streams" + members)
    if "keys" in chosen.only:
        found = keys.table(chosen.programs, chosen.keys, chosen.rows, tell)
        parts["keys"] = found + "\n" + command % "keys"
    if "memory" in chosen.only:
        found = long_run.table(chosen.programs, chosen.records, chosen.fit_every, tell)
        parts["memory"] = found + "\n" + command % "memory"
    for key, text in parts.items():
        print(text)
        if chosen.markdown:
            chosen.markdown.write_text(replace_between(chosen.markdown.read_text(), key, "\n" + text))


main()
