"""Memory over a long run: the same million records offered again and again."""
from pathlib import Path

import rows
from daemon import FIRST, Daemon, memory_mib

BLOCK = 1_000_000
SAMPLES = 10


def table(programs, count, fit_every, tell):
    """The daemon's memory after each tenth of the records; the highest of what was seen at each million."""
    blocks = max(SAMPLES, count // BLOCK)
    size = count // blocks
    daemon = Daemon(programs, "csv", "stdin", fit_every=fit_every)
    lines, worst, begun = [], 0.0, 0.0
    try:
        data = daemon.data(rows.numbers(size, 2))
        pid = daemon.process.pid
        for block in range(1, blocks + 1):
            begun += daemon.measure(data, size, FIRST + (block - 1) * size)["wallSeconds"]
            memory = memory_mib(pid)
            worst = max(worst, memory["all"])
            if block * SAMPLES % blocks < SAMPLES:
                stream = daemon.stream()
                store = sum(f.stat().st_size for f in Path(daemon.folder.name, "state").glob("flowguard.sqlite*"))
                lines.append(
                    f"| {block * size:,} | {begun:,.0f} | {memory['all']:,.0f} | {memory['own']:,.0f} | {worst:,.0f} | "
                    f"{stream['last_fit']['id']} | {stream['anomalies_total']:,} | {store / 2**20:,.0f} |")
                tell("memory: " + lines[-1])
    finally:
        daemon.close()
    head = "| records | seconds | resident MiB | of it its own | highest so far | fits | anomalies | store MiB |"
    return ("**Memory over a long run**, one stream of 8 columns by standard input"
            + ("" if fit_every == "never" else f", a fit every {fit_every}") + "\n\n" + head + "\n"
            + "|--:|--:|--:|--:|--:|--:|--:|--:|\n" + "\n".join(lines) + "\n")
