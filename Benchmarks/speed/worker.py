"""One peer in a process of its own: answers a request a line, as the program flowguard-speed does.

    python worker.py PEER THREADS
"""
import importlib
import json
import os
import resource
import sys
import time


def measure(work, seconds, rows):
    """Calls `work` again and again; what it took."""
    calls, cpu, wall = 0, time.process_time(), time.monotonic()
    while True:
        work()
        calls += 1
        if time.monotonic() - wall >= seconds:
            break
    return {"count": calls * rows, "calls": calls, "cpuSeconds": time.process_time() - cpu,
            "wallSeconds": time.monotonic() - wall}


class Worker:
    def __init__(self, peer, threads):
        self.make = lambda shape, weights: importlib.import_module(f"peers.{peer}").Peer(shape, weights, threads)
        self.ready = {}

    def load(self, features, layers, width, weights, rows):
        import numpy as np

        from flow import Shape
        shape = Shape(features, layers, width)
        flat, tensors = np.fromfile(weights, np.float32), []
        for layer in range(layers):
            for inputs, outputs in shape.sides(layer):
                for size, sides in ((inputs * outputs, (outputs, inputs)), (outputs, (outputs,))):
                    tensors.append(flat[:size].reshape(sides).copy())
                    flat = flat[size:]
        self.rows = np.fromfile(rows, np.float32).reshape(-1, features)
        self.peer = self.make(shape, tensors)
        self.ready = {}
        return {}

    def batch(self, count):
        import numpy as np
        return np.ascontiguousarray(np.resize(self.rows, (count, self.rows.shape[1])))

    def scorer(self, count):
        if ("score", count) not in self.ready:
            self.ready["score", count] = self.peer.scorer(self.batch(count))
            for _ in range(3):
                self.ready["score", count]()
        return self.ready["score", count]

    def likelihoods(self, into):
        import numpy as np
        np.asarray(self.scorer(len(self.rows))(), np.float64).tofile(into)
        return {}

    def score(self, batch, seconds):
        return measure(self.scorer(batch), seconds, batch)

    def latency(self, seconds):
        """From a row of numpy to a number of Python."""
        if "latency" not in self.ready:
            self.ready["latency"] = self.peer.one_record()
        score, records = self.ready["latency"], [self.rows[i:i + 1].copy() for i in range(256)]
        for record in records[:50]:
            score(record)
        taken, wall = [], time.monotonic()
        while time.monotonic() - wall < seconds or len(taken) < 100:
            before = time.process_time_ns()
            score(records[len(taken) % 256])
            taken.append((time.process_time_ns() - before) / 1000)
        taken.sort()
        return {"count": len(taken), "p50": taken[len(taken) // 2], "p99": taken[len(taken) * 99 // 100]}

    def train(self, batch, seconds):
        if not hasattr(self.peer, "trainer"):
            return {"count": 0}
        if ("train", batch) not in self.ready:
            self.ready["train", batch] = self.peer.trainer(self.batch(batch))
            for _ in range(3):
                self.ready["train", batch]()
        return measure(self.ready["train", batch], seconds, batch)

    def memory(self):
        return {"peakBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main():
    peer, threads = sys.argv[1], int(sys.argv[2])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not come between the answers
    worker = Worker(peer, threads)
    for line in sys.stdin:
        request = json.loads(line)
        op = request.pop("op")
        answers.write(json.dumps({"calls": 0, **getattr(worker, op)(**request)}) + "\n")


if __name__ == "__main__":
    main()
