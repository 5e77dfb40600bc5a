"""Measures flowguard and its peers side by side; see `run --help`."""
import argparse
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from common import processor, replace_between, swift_version
from flow import SHAPES
from measure import Measurement
from report import Report
from sides import OURS, PEERS



def options():
    parser = argparse.ArgumentParser(prog="Benchmarks/speed/run", description=__doc__)
    parser.add_argument("--program", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--shapes", default=",".join(s.name for s in SHAPES), help="default: all (%(default)s)")
    parser.add_argument("--threads", default="1,2", help="default: %(default)s")
    parser.add_argument("--peers", default=",".join(PEERS), help="default: all (%(default)s); '' for none")
    parser.add_argument("--rounds", type=int, default=5, help="repeats of a cell, in turn; default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.3, help="of one repeat; default: %(default)s")
    parser.add_argument("--figures", type=Path,
                        help="a file of figures: those in it are not measured again, new ones are added")
    parser.add_argument("--markdown", type=Path, help="a file whose part between the speed markers to replace")
    return parser.parse_args()


def about(chosen, figures):
    packages = ["numpy", "torch", "zuko", "nflows", "jax", "onnxruntime"]
    return (f"{os.cpu_count()} cores of {processor()}, {platform.system()} {platform.release()}, load {os.getloadavg()[0]:.1f} "
            f"at the end; {swift_version()}, Python {platform.python_version()}, "
            + ", ".join(f"{p} {version(p)}" for p in packages) + f"; {figures[OURS]['note']}.\n"
            f"Medians of {chosen.rounds} repeats of {chosen.seconds:g} s, all sides in turn. Largest difference of a "
            "log-likelihood from float64: " + ", ".join(f"{n} {f['off']:.1g}" for n, f in figures.items()) + " nats.")


def main():
    chosen = options()
    tell = lambda text: print("speed: " + text, file=sys.stderr, flush=True)
    names = [OURS] + [name for name in chosen.peers.split(",") if name]
    known = json.loads(chosen.figures.read_text()) if chosen.figures and chosen.figures.exists() else {}
    results = {}
    for threads in map(int, chosen.threads.split(",")):
        for shape in SHAPES:
            if shape.name not in chosen.shapes.split(","):
                continue
            key = f"{shape.name}, {threads} threads"
            if key not in known:
                known[key] = Measurement(
                    shape, threads, names, chosen.program, chosen.rounds, chosen.seconds, tell).run()
                if chosen.figures:
                    chosen.figures.write_text(json.dumps(known))
            results[shape, threads] = known[key]
    text = Report(results).text(about(chosen, list(results.values())[-1]))
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(replace_between(chosen.markdown.read_text(), "speed", "\n" + text))


if __name__ == "__main__":
    main()
