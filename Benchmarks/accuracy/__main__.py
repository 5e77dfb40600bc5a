"""Prints every accuracy table beside its goal; called by `run`, which installs what it needs."""
import argparse
import datetime
import os
import shlex
import sys
import time
from pathlib import Path

import calibration
import datasets
import nab
import reasons
import skab
import speed
import tabular
import unseen
import warm
from common import processor, replace_between
from flowguard import CommandError, Flowguard
from report import aligned, wrapped

SECTIONS = {"tabular": [lambda run: tabular.ranking(run, "dte"), lambda run: tabular.ranking(run, "random")],
            "contamination": [tabular.contamination], "unseen": [unseen.unseen], "skab": [skab.valve1], "nab": [nab.streams],
            "calibration": [calibration.calibration], "reasons": [reasons.reasons], "speed": [speed.fit_time],
            "warm": [warm.refits]}
QUICK_SETS = ["glass", "wine"]


class Run:
    """What every section needs to know."""

    def __init__(self, a):
        self.data = Path(a.data)
        self.flowguard = Flowguard(a.programs)
        self.seeds = a.seeds
        self.sets = a.sets
        self.is_quick = a.quick
        self.is_silent = a.silent
        self.known = {}
        self.start = time.monotonic()

    @property
    def seed_text(self):
        return ("seed " if len(self.seeds) == 1 else "seeds ") + ", ".join(map(str, self.seeds))

    def tables(self):
        """The chosen sets of the data folder."""
        return [self.once(("table", n), lambda n=n: datasets.table(self.data, n)) for n in self.sets]

    def once(self, key, work_out):
        """What was worked out for this key, now or before."""
        if key not in self.known:
            self.known[key] = work_out()
        return self.known[key]

    def some(self, items, quick_count):
        """All of them, or the first few in a quick run."""
        return items[:quick_count] if self.is_quick else items

    def progress(self, text):
        if not self.is_silent:
            print(f"{time.monotonic() - self.start:6.0f} s  {text}", file=sys.stderr, flush=True)


def names(known):
    def parse(text):
        by_lower = {k.lower(): k for k in known}
        for name in text.split(","):
            if name.lower() not in by_lower:
                raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, found '{name}'")
        return [by_lower[name.lower()] for name in text.split(",")]
    return parse


def arguments():
    p = argparse.ArgumentParser(prog="Benchmarks/accuracy/run", description=__doc__)
    p.add_argument("--data", required=True, help=argparse.SUPPRESS)
    p.add_argument("--programs", required=True, help=argparse.SUPPRESS)
    data = sys.argv[sys.argv.index("--data") + 1] if "--data" in sys.argv[:-1] else ""
    p.add_argument("--only", type=names(list(SECTIONS)), default=list(SECTIONS), metavar="A,B",
                   help=f"some of {', '.join(SECTIONS)}")
    p.add_argument("--sets", type=names(datasets.table_names(data)), metavar="A,B", help="tabular sets (default: all)")
    p.add_argument("--seeds", type=lambda t: [int(v) for v in t.split(",")], default=None, metavar="0,1,2",
                   help="seeds of splits and fits (default: 0,1,2)")
    p.add_argument("--quick", action="store_true", help="two small sets, one seed, two files: below a minute")
    p.add_argument("--verbose", action="store_true", help="print the tables of each set, too")
    p.add_argument("--silent", action="store_true", help="no progress on standard error")
    p.add_argument("--markdown", metavar="FILE", help="write the tables into this file, between its markers")
    a = p.parse_args()
    a.sets = a.sets or (QUICK_SETS if a.quick else datasets.table_names(data))
    a.seeds = a.seeds or ([0] if a.quick else [0, 1, 2])
    return a


def shown_command():
    """The command as a user types it: without what `run` adds, and what changes no figure."""
    words = [w for w in sys.argv[1:] if w not in ("--verbose", "--silent")]
    for hidden in ("--data", "--programs", "--markdown"):
        if hidden in words:
            at = words.index(hidden)
            del words[at:at + 2]
    return shlex.join(["Benchmarks/accuracy/run", *words])


def main():
    a = arguments()
    run = Run(a)
    done, failed = [], []
    for key in a.only:
        for make in SECTIONS[key]:
            try:
                section = make(run)
            except CommandError as error:
                failed.append(f"{key}: {error}")
                print(f"\n{key}: {error}", flush=True)
                continue
            print(section.text(a.verbose), flush=True)
            done.append(section)
    goals = [[s.title, g.claim, g.found, g.word] for s in done for g in s.goals]
    print("\n".join(["All goals", "========="] + aligned(["", "goal", "found", ""], goals, left=4)))
    if a.markdown:
        path = Path(a.markdown)
        text = path.read_text() if path.exists() else "# Accuracy\n"
        stamp = (f"`{shown_command()}`, {datetime.date.today().isoformat()}, {processor()}, {os.cpu_count()} threads, "
                 f"{run.seed_text}.")
        for s in done:
            text = replace_between(text, s.key, s.markdown() + "\n" + "\n".join(wrapped(stamp)))
        path.write_text(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
