"""Many streams in one daemon, a record a second each: CPU, memory, and the time from a record's first byte to its verdict.

The verdict counts as there when the client reads the acknowledgement of its record: what is acknowledged is scored and
committed (docs/operating.md, "Clients that must lose nothing"). So the way back to the client is in the time.
"""
import json
import resource
import selectors
import socket
import tempfile
import time
from pathlib import Path

import numpy as np

import rows
from daemon import Running, memory_mib

FEATURES = rows.FEATURES[:4]
FIT_EVERY_SECS = 3600
LIMIT_SECS = 7200


class Fleet(Running):
    """A flowguardd with many streams, and a client on each one's socket."""

    def __init__(self, programs, count, first, members):
        self.count = count
        self.folder = tempfile.TemporaryDirectory()
        base = Path(self.folder.name)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.names = [f"s{i:04}" for i in range(count)]
        model = f"model: {{members: {members}}}, " if members else ""
        streams = "\n".join(
            f"  - {{name: {name}, source: {{socket: {base}/run/{name}.sock, acknowledge: true}}, "
            f"{model}fit: {{first_after_records: {first}, every: never}}, alarm: {{false_alarms_per_day: 2}}}}"
            for name in self.names)
        config = base / "flowguard.yaml"
        config.write_text(
            f"state_directory: {base}/state\nruntime_directory: {base}/run\n"
            f"log: {{anomalies: {base}/anomalies.ndjson}}\nstreams:\n{streams}\n")
        self.control = f"{base}/run/control.sock"
        begun = time.monotonic()
        self.launch(programs, config)
        self.wait(lambda all: len(all) == count, LIMIT_SECS, pause=0.2)
        self.start_secs = time.monotonic() - begun
        # Each stream has its own numbers, all of one kind: 4 readings that depend on each other.
        self.random = np.random.default_rng(7)
        self.mix = np.linalg.cholesky(np.full((4, 4), 0.7) + 0.3 * np.eye(4))
        self.clock = int(time.time()) - first
        self.selector = selectors.DefaultSelector()
        self.clients, self.sent, self.heard = [], [0] * count, [0] * count
        self.rest = [b""] * count
        for index, name in enumerate(self.names):
            client = socket.socket(socket.AF_UNIX)
            while client.connect_ex(f"{base}/run/{name}.sock") != 0:
                time.sleep(0.01)
            self.selector.register(client, selectors.EVENT_READ, index)
            self.clients.append(client)

    def lines(self, times):
        x = self.random.standard_normal((len(times), 4)) @ self.mix.T
        pattern = '{"time":%.3f,' + ",".join(f'"{name}":%.4f' for name in FEATURES) + "}\n"
        return [pattern % (when, *row) for when, row in zip(times, x.tolist())]

    def hear(self, until):
        """Reads acknowledgements until a time, and gives what came: stream, number, when."""
        came = []
        while True:
            left = until - time.monotonic()
            for key, _ in self.selector.select(max(0, left)):
                data = self.rest[key.data] + key.fileobj.recv(65536)
                now = time.monotonic()
                *answers, self.rest[key.data] = data.split(b"\n")
                for answer in answers:
                    came.append((key.data, json.loads(answer)["ok"], now))
            if left <= 0:
                return came

    def take(self, came):
        for index, number, _ in came:
            self.heard[index] = number

    def learn(self, first, tell):
        """Gives each stream its first records, and waits until all have a model."""
        times = [self.clock + i for i in range(first)]
        for index, client in enumerate(self.clients):
            client.sendall("".join(self.lines(times)).encode())
            self.sent[index] += first
            self.take(self.hear(time.monotonic()))
        begun, last = time.monotonic(), 0.0

        def all_have_one(streams):
            nonlocal last
            ready = sum(1 for s in streams if s.get("model"))
            if time.monotonic() - last > 20:
                last = time.monotonic()
                tell(f"streams: {ready} of {self.count} have a model after {last - begun:.0f} s")
            return ready == self.count

        self.wait(all_have_one, LIMIT_SECS, pause=2)
        self.fit_secs = (time.monotonic() - begun) / self.count
        while min(self.heard) < first:
            self.take(self.hear(time.monotonic() + 0.5))
        time.sleep(5)

    def steady(self, seconds, fits_an_hour):
        """One record a second to each stream, spread over the second; the seconds that each took to be acknowledged."""
        began, cpu = time.monotonic(), self.cpu_seconds()
        outstanding, took, late = {}, [], 0.0
        next_fit, fits = began, 0
        total = self.count * seconds
        lines = [iter(self.lines([time.time() + s for s in range(seconds)])) for _ in self.clients]
        for turn in range(total):
            due = began + turn / self.count
            for index, number, now in self.hear(due):
                took += [now - outstanding.pop((index, n)) for n in range(self.heard[index] + 1, number + 1)]
                self.heard[index] = number
            if fits_an_hour and time.monotonic() >= next_fit:
                self.get(f"/v1/streams/{self.names[fits % self.count]}/retrain", "POST")
                next_fit += 3600 / fits_an_hour
                fits += 1
            index = turn % self.count
            line = next(lines[index]).encode()
            self.sent[index] += 1
            now = time.monotonic()
            late = max(late, now - due)
            # Once the bytes are offered the daemon's time counts, not the time at which they were due.
            outstanding[index, self.sent[index]] = now
            self.clients[index].sendall(line)
        wall, spent = time.monotonic() - began, self.cpu_seconds() - cpu
        while outstanding:
            for index, number, now in self.hear(time.monotonic() + 0.1):
                took += [now - outstanding.pop((index, n)) for n in range(self.heard[index] + 1, number + 1)]
                self.heard[index] = number
        assert len(took) == total
        return {"took": np.array(took) * 1000, "cpu": spent / wall, "fits": fits, "late": late * 1000,
                "rate": total / wall}

    def threads(self):
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))


def table(programs, count, first, members, seconds, tell):
    fleet = Fleet(programs, count, first, members)
    try:
        before = memory_mib(fleet.process.pid)
        fleet.learn(first, tell)
        tell(f"streams: a fit took {fleet.fit_secs:.2f} s")
        quiet = fleet.steady(seconds, 0)
        tell("streams: measured without fits")
        busy = fleet.steady(seconds, count * 3600 / FIT_EVERY_SECS)
        memory, threads = memory_mib(fleet.process.pid), fleet.threads()
        flawed = [s["name"] for s in fleet.streams() if s["state"] != "watching" or s["faults_total"]]
        assert flawed == [], flawed
    finally:
        fleet.close()
    head = "| | records a second | p50 ms | p99 ms | p99.9 ms | worst ms | CPU, of one core |"
    lines = [head, "|---|--:|--:|--:|--:|--:|--:|"]
    for name, run in [("no fits", quiet), (f"{busy['fits']} fits", busy)]:
        p50, p99, p999 = np.percentile(run["took"], [50, 99, 99.9])
        lines.append(f"| {seconds} s, {name} | {run['rate']:,.0f} | {p50:.1f} | {p99:.1f} | {p999:.1f} | "
                     f"{run['took'].max():.0f} | {100 * run['cpu']:.0f} % |")
    p99 = np.percentile(busy["took"], 99)
    verdict = "reached" if p99 < 50 else "**not reached**"
    return (f"**{count:,} streams**, a record of {len(FEATURES)} readings a second each over an acknowledged socket: from offering it to "
            f"reading that it is committed\n\n" + "\n".join(lines) + "\n\n"
            f"| goal | found | wanted | |\n|---|--:|--:|---|\n"
            f"| p99 with fits, ms | {p99:.1f} | below 50 | {verdict} |\n\n"
            f"Resident memory {memory['all']:,.0f} MiB, {1024 * memory['all'] / count:,.0f} KiB a stream ({before['all']:,.0f} MiB "
            f"before the first record), {threads} threads; up after {fleet.start_secs:.1f} s. Each stream has learned from {first:,} records"
            f"{f', {members} flow each' if members else ''}, "
            f"which took {fleet.fit_secs:.2f} s each, one after the other; fits are asked for as often as {count:,} streams with "
            f"`every: 1h` do. The sender was never more than {max(quiet['late'], busy['late']):.0f} ms late.\n")
