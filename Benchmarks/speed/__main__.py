"""Measures flowguard and its peers side by side; see `run --help`."""
import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import busy
from common import processor, replace_between, swift_version
from flow import SHAPES
from measure import Measurement, TrainMeasurement
from report import Report
from sides import OURS, PEERS, can_compile

# What is measured by itself, and beside whom where nothing else is said.
PARTS = {"train": "torch,torch_compile,jax", "busy": "torch,jax,onnxruntime"}


def options():
    parser = argparse.ArgumentParser(prog="Benchmarks/speed/run", description=__doc__)
    parser.add_argument("--program", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=PARTS, help="'train': training steps, with torch.compile; 'busy': two threads "
                        "beside a busy process; default: all but these")
    parser.add_argument("--shapes", default=",".join(s.name for s in SHAPES), help="default: all (%(default)s)")
    parser.add_argument("--threads", default="1,2", help="default: %(default)s")
    parser.add_argument("--peers", help="default: all (" + ",".join(PEERS) + "), "
                        + ", ".join(f"of {part} {peers}" for part, peers in PARTS.items()) + "; '' for none")
    parser.add_argument("--rounds", type=int, default=5, help="repeats of a cell, in turn; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.3, help="of one repeat; default: %(default)s")
    parser.add_argument("--figures", type=Path,
                        help="a file of figures: those in it are not measured again, new ones are added")
    parser.add_argument("--markdown", type=Path, help="a file whose part between the markers 'speed' (or that of --only) to replace")
    chosen = parser.parse_args()
    if chosen.peers is None:
        chosen.peers = PARTS.get(chosen.only, ",".join(PEERS))
    return chosen


def about(chosen, figures):
    packages = ["numpy"] + [name for name in ("torch", "zuko", "nflows", "jax", "onnxruntime")
                            if any(side.startswith(name) for side in figures)]
    return (f"{os.cpu_count()} cores of {processor()}, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f} "
            f"at the end; {swift_version()}, Python {platform.python_version()}, "
            + ", ".join(f"{p} {version(p)}" for p in packages) + f"; {figures[OURS]['note']}.\n"
            f"Medians of {chosen.rounds} repeats of {chosen.seconds:g} s, all sides in turn. Largest difference of a "
            "log-likelihood from float64: " + ", ".join(f"{n} {f['off']:.1g}" for n, f in figures.items()) + " nats.")


def tell(text):
    print("speed: " + text, file=sys.stderr, flush=True)


def sides(chosen):
    names = [OURS] + [name for name in chosen.peers.split(",") if name]
    if "torch_compile" in names and not can_compile():
        tell("torch_compile is left out: no C++ compiler (CXX, or g++)")
        names.remove("torch_compile")
    return names


def measured(chosen):
    """`[shape, threads]` are the figures of a measurement."""
    names, results = sides(chosen), {}
    kind = {"train": TrainMeasurement, "busy": busy.BusyMeasurement}.get(chosen.only, Measurement)
    known = json.loads(chosen.figures.read_text()) if chosen.figures and chosen.figures.exists() else {}
    for threads in [busy.THREADS] if chosen.only == "busy" else map(int, chosen.threads.split(",")):
        for shape in SHAPES:
            if shape.name not in chosen.shapes.split(","):
                continue
            key = f"{shape.name}, {threads} threads" + (f", {chosen.only}" if chosen.only else "")
            if key not in known:
                known[key] = kind(shape, threads, names, chosen.program, chosen.rounds, chosen.seconds, tell).run()
                if chosen.figures:
                    chosen.figures.write_text(json.dumps(known))
            results[shape, threads] = known[key]
    return results


def main():
    chosen = options()
    if chosen.only == "busy":
        busy.stay_on_two_cores()
    results = measured(chosen)
    said = about(chosen, list(results.values())[-1])
    if chosen.only == "busy":
        text = busy.text(said, {shape: figures for (shape, _), figures in results.items()})
    elif chosen.only == "train":
        text = Report(results).training_text(said)
    else:
        text = Report(results).text(said)
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(
            replace_between(chosen.markdown.read_text(), chosen.only or "speed", "\n" + text))


if __name__ == "__main__":
    main()
