"""The daemon under load: from the first byte offered to the last verdict committed."""
import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import rows

FIRST = 20_000


def memory_mib(pid):
    """The resident set of a process: all of it, and what is its own and no file's."""
    found = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(found[key].split()[0]) / 1024 for name, key in [("all", "VmRSS"), ("own", "RssAnon")]}


class Control(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


class Running:
    """A flowguardd in a folder of its own; who makes one sets `folder` and `control`, and launches it."""

    def launch(self, programs, config, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen(
            [f"{programs}/flowguardd", "--config", str(config)], stdin=stdin,
            stdout=subprocess.DEVNULL, stderr=open(Path(self.folder.name, "stderr"), "wb"))

    def get(self, path, method="GET"):
        control = Control(self.control)
        control.request(method, path)
        answer = json.loads(control.getresponse().read())
        control.close()
        return answer

    def streams(self):
        return self.get("/v1/status")["streams"]

    def wait(self, is_done, limit, pause):
        """Waits until the streams are as they should be."""
        end, streams = time.monotonic() + limit, []
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(Path(self.folder.name, "stderr").read_text()[-2000:])
            try:
                streams = self.streams()
                if is_done(streams):
                    return
            except OSError:
                pass
            time.sleep(pause)
        raise RuntimeError(f"the daemon is not done after {limit} s: {streams[:1]}")

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(60)
        self.folder.cleanup()


class Daemon(Running):
    """A flowguardd with one stream of the rows' columns, which has fitted its model to the first rows."""

    def __init__(self, programs, form, way, fit_every="never"):
        self.folder = tempfile.TemporaryDirectory()
        self.form, self.way = form, way
        base = Path(self.folder.name)
        self.input = base / f"records.{form}"
        self.socket = base / "records.sock"
        source = {"file": f"file: {self.input}", "socket": f"socket: {self.socket}", "stdin": "stdin: true"}[way]
        # One RealNVP flow of 8 coupling layers, 64 hidden; records one by one, without a past.
        config = base / "flowguard.yaml"
        config.write_text(f"""state_directory: {base}/state
runtime_directory: {base}/run
log: {{anomalies: {base}/anomalies.ndjson}}
streams:
  - name: bench
    source: {{{source}}}
    format: {form}
    features: [{', '.join(rows.FEATURES)}]
    context: {{windows: [], lags: 0}}
    model: {{family: realnvp, members: 1, coupling_layers: 8, hidden_width: 64}}
    fit: {{first_after_records: {FIRST}, every: {fit_every}}}
    alarm: {{false_alarm_probability: 0.001}}
""")
        self.control = f"{base}/run/control.sock"
        first = self.data(rows.numbers(FIRST, 1), header=True)
        if way == "file":
            self.input.write_bytes(first)
        self.launch(programs, config, stdin=subprocess.PIPE if way == "stdin" else subprocess.DEVNULL)
        if way != "file":
            self.offer(first)
        self.wait_for(lambda stream: stream["records_total"] >= FIRST and stream.get("model"))
        # What the window held is scored after the first fit.
        time.sleep(1)

    def data(self, x, header=False):
        """The rows as bytes of the daemon's format."""
        path = Path(self.folder.name, "rows")
        rows.write(x, self.form, path, header=header)
        return path.read_bytes()

    def offer(self, data):
        if self.way == "file":
            with open(self.input, "ab") as f:
                f.write(data)
        elif self.way == "stdin":
            self.process.stdin.write(data)
            self.process.stdin.flush()
        else:
            for _ in range(200):
                if self.socket.exists():
                    break
                time.sleep(0.05)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(self.socket))
                client.sendall(data)

    def stream(self):
        return self.streams()[0]

    def wait_for(self, is_done):
        self.wait(lambda streams: is_done(streams[0]), limit=300, pause=0.02)

    def measure(self, data, count, before=FIRST):
        cpu, wall = self.cpu_seconds(), time.monotonic()
        feeder = threading.Thread(target=self.offer, args=(data,))
        feeder.start()
        self.wait_for(lambda stream: stream["records_total"] >= before + count)
        took = {"rows": count, "wallSeconds": time.monotonic() - wall, "cpuSeconds": self.cpu_seconds() - cpu}
        feeder.join()
        return took
