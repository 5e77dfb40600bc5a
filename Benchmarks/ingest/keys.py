"""One file of many keys in turn: records a second from the file to committed verdicts, with all keys in memory and with half of them."""
import signal
import tempfile
import time
from pathlib import Path

import numpy as np

from daemon import Running, memory_mib

FIRST_EACH = 20


class Keyed(Running):
    """A flowguardd with one stream of many keys, all judged by the stream's model."""

    def __init__(self, programs, keys, live):
        self.folder = tempfile.TemporaryDirectory()
        base = Path(self.folder.name)
        self.keys, self.input, self.written = keys, base / "records.csv", 0
        self.random = np.random.default_rng(5)
        self.clock = int(time.time()) - 10_000_000
        self.input.write_text("time,machine,flow,pressure\n")
        self.write(FIRST_EACH * keys)
        config = base / "flowguard.yaml"
        config.write_text(f"""state_directory: {base}/state
runtime_directory: {base}/run
log: {{anomalies: {base}/anomalies.ndjson}}
streams:
  - name: machines
    source: {{file: {self.input}}}
    time: {{column: time}}
    key: {{column: machine, live: {live}}}
    fit: {{first_after_records: {FIRST_EACH * keys}, every: never}}
    alarm: {{false_alarms_per_day: 2}}
""")
        self.control = f"{base}/run/control.sock"
        self.launch(programs, config)
        self.wait(lambda all: all[0]["state"] == "watching", 600, pause=0.1)
        # What the keys held is scored after the first fit.
        time.sleep(10)

    def write(self, count):
        """One record of each key in turn, a second for each round."""
        first, self.written = self.written, self.written + count
        x = self.random.standard_normal((count, 2)) @ np.array([[1, 0.7], [0, 0.7]])
        with open(self.input, "a") as f:
            f.writelines(f"{self.clock + n // self.keys},m{n % self.keys:04},{a:.4f},{b:.4f}\n"
                         for n, (a, b) in zip(range(first, first + count), x.tolist()))

    def measure(self, count):
        self.process.send_signal(signal.SIGSTOP)
        self.write(count)
        cpu, begun = self.cpu_seconds(), time.monotonic()
        self.process.send_signal(signal.SIGCONT)
        self.wait(lambda all: all[0]["records_total"] >= self.written, 3600, pause=0.05)
        return count / (time.monotonic() - begun), (self.cpu_seconds() - cpu) / count


def table(programs, keys, records, tell):
    lines = ["| keys in memory | thousand records a second | CPU µs a record | resident MiB |", "|---|--:|--:|--:|"]
    for live in (keys, keys // 2):
        daemon = Keyed(programs, keys, live)
        try:
            rate, spent = daemon.measure(records)
            memory = memory_mib(daemon.process.pid)["all"]
        finally:
            daemon.close()
        tell(f"keys: {live} in memory: {rate:,.0f} a second")
        lines.append(f"| {live:,} of {keys:,} | {rate / 1000:,.1f} | {1e6 * spent:,.0f} | {memory:,.0f} |")
    return (f"**{keys:,} keys** in one file, a record of each in turn, {records:,} records of 2 columns; judged by the stream's "
            "model, from the file to committed verdicts\n\n" + "\n".join(lines) + "\n")
