"""Compares what flowguard's flows learn with what zuko's and nflows' do: held-out log-likelihood, in nats a row."""
import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

import densities
from common import replace_between, swift_version

OURS, PEERS = "flowguard", ["zuko", "nflows"]
LAYERS, WIDTH, STEPS, BATCH = 6, 64, 2_000, 256


def options():
    parser = argparse.ArgumentParser(prog="Benchmarks/learning/run", description=__doc__)
    parser.add_argument("--program", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--data", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--only", help="names of densities and tables, with commas; default: all")
    parser.add_argument("--laws", default="affine,spline", help="default: %(default)s")
    parser.add_argument("--seeds", default="0", help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="fits at once; default: %(default)s")
    parser.add_argument("--keep", type=Path, help="a folder of likelihoods: those in it are not made again, new ones are added")
    parser.add_argument("--quick", action="store_true", help="two densities, few steps: half a minute")
    parser.add_argument("--markdown", type=Path, help="a file whose part between the learning markers to replace")
    return parser.parse_args()


def ours(program, task, law, steps, seed):
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for part in ("train", "held_out", "test"):
            paths[part] = Path(folder, part)
            getattr(task, part).tofile(paths[part])
        out = Path(folder, "likelihoods")
        done = subprocess.run(
            [program, law, *map(str, (task.train.shape[1], LAYERS, WIDTH, steps, BATCH, seed)), *paths.values(), out],
            capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr.strip()}")
        return np.fromfile(out)


def fit(job):
    """The likelihoods of one seed."""
    program, data, name, law, who, steps, seed, keep = job
    task = densities.make(name, data)
    exact = None if task.exact is None else float(task.exact.mean())
    kept = keep and keep / f"{name}, {law}, {who}, {steps} steps, seed {seed}.npy"
    if kept and kept.exists():
        return name, law, who, seed, np.load(kept), exact
    if who == OURS:
        likelihoods = ours(program, task, law, steps, seed)
    else:
        import peers
        likelihoods = peers.learn(who, task, law, LAYERS, WIDTH, steps, BATCH, seed)
    if kept:
        keep.mkdir(parents=True, exist_ok=True)
        np.save(kept, likelihoods)
    return name, law, who, seed, likelihoods, exact


def errors(ahead):
    """The standard errors of the mean of `ahead[seed, row]` over the rows and, with several seeds, over them."""
    over_rows = ahead.mean(axis=0).std(ddof=1) / np.sqrt(ahead.shape[1])
    over_seeds = ahead.mean(axis=1).std(ddof=1) / np.sqrt(len(ahead)) if len(ahead) > 1 else 0.0
    return over_rows, over_seeds


def table(law, names, found, exact):
    """`found[name, law, who][seed, row]` are likelihoods."""
    rows, missed, total = [], [], len(names) * len(PEERS)
    for name in names:
        own = found[name, law, OURS]
        cells = [name, "-" if exact[name] is None else f"{exact[name]:.3f}", f"{own.mean():.3f}"]
        if not np.isfinite(own).all():
            missed.append(f"{name} (diverged)")
        for peer in PEERS:
            ahead = own - found[name, law, peer]
            if not np.isfinite(ahead).all():
                cells += ["diverged" if np.isfinite(own).all() else f"{found[name, law, peer].mean():.3f}", "-"]
                total -= np.isfinite(own).all()
                continue
            over_rows, over_seeds = errors(ahead)
            behind = ahead.mean() < -2 * np.hypot(over_rows, over_seeds)
            said = f"{ahead.mean():+.3f} ± {over_rows:.3f}" + (f" ± {over_seeds:.3f}" if len(ahead) > 1 else "")
            cells += [f"{found[name, law, peer].mean():.3f}", said + (" **behind**" if behind else "")]
            if behind:
                missed.append(f"{name} ({peer})")
        rows.append("| " + " | ".join(cells) + " |")
    head = ["data", "exact", OURS] + [cell for peer in PEERS for cell in (peer, f"{OURS} − {peer}")]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)] + rows
    verdict = f"At least the peer's within two standard errors: {total - len(missed)} of {total}."
    if missed:
        verdict += " Behind on " + ", ".join(missed) + "."
    return f"**{law.capitalize()} couplings**\n\n" + "\n".join(lines) + "\n\n" + verdict + "\n"


def about(chosen, steps):
    return (f"`Benchmarks/learning/run`, {date.today()}, means of seeds {chosen.seeds}; {LAYERS} coupling layers, two hidden layers of "
            f"{WIDTH}, at most {steps:,} steps of {BATCH} rows. {swift_version()}, "
            + ", ".join(f"{p} {version(p)}" for p in ("torch", "zuko", "nflows")) + ".\n")


def main():
    chosen = options()
    names = densities.names(chosen.data)
    if len(names) == len(densities.KNOWN):
        print(f"learning: the tables are skipped: no data in {chosen.data} (set FLOWGUARD_DATA)", file=sys.stderr)
    if chosen.only:
        wanted = [n.strip() for n in chosen.only.split(";" if ";" in chosen.only else ",")]
        unknown = set(wanted) - set(names)
        if unknown:
            sys.exit(f"error: no data of the name {', '.join(sorted(unknown))}; known: {'; '.join(names)}\n"
                     "hint:  part names by ';' where one holds a comma")
        names = [n for n in names if n in wanted]
    if chosen.quick:
        names = names[:2]
    steps = 200 if chosen.quick else STEPS
    laws, seeds = chosen.laws.split(","), [int(s) for s in chosen.seeds.split(",")]
    # Seed by seed: what --keep holds of a run that was ended has whole seeds.
    jobs = [(chosen.program, chosen.data, name, law, who, steps, seed, chosen.keep)
            for seed in seeds for name in names for law in laws for who in [OURS] + PEERS]
    found, exact = {}, {}
    with ProcessPoolExecutor(chosen.jobs) as pool:
        for name, law, who, seed, likelihoods, known in pool.map(fit, jobs):
            found.setdefault((name, law, who), []).append(likelihoods)
            exact[name] = known
            print(f"learning: {name}, {law}, {who}, seed {seed}: {likelihoods.mean():.3f}", file=sys.stderr, flush=True)
    found = {key: np.stack(runs) for key, runs in found.items()}
    text = "\n".join(table(law, names, found, exact) for law in laws) + "\n" + about(chosen, steps)
    print(text)
    if chosen.markdown:
        chosen.markdown.write_text(replace_between(chosen.markdown.read_text(), "learning", "\n" + text))


main()
