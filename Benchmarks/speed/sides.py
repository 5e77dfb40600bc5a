"""The processes that are compared, one for each side and number of threads."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

OURS = "flowguard"
PEERS = {
    "torch": "torch_eager", "torch_compile": "torch_compile", "zuko": "zuko_peer", "nflows": "nflows_peer",
    "jax": "jax_peer", "onnxruntime": "onnx_peer",
}


def can_compile():
    """Whether there is what torch.compile hands its C++ to."""
    return shutil.which(os.environ.get("CXX", "g++")) is not None


class SideError(Exception):
    """A side ended before it answered."""


class Side:
    """A process that answers a request a line."""

    def __init__(self, name, program, threads):
        self.name = name
        here = Path(__file__).parent
        command = [program, str(threads)] if name == OURS else [
            sys.executable, str(here / "worker.py"), PEERS[name], str(threads)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        environment.update(PYTHONDONTWRITEBYTECODE="1", JAX_PLATFORMS="cpu", CUDA_VISIBLE_DEVICES="")
        # What torch.compile has compiled once need not be compiled again in the next run.
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(sys.prefix).parent / "speed-inductor"))
        # One thread means one core: what a library starts beside it must not help.
        pin = (lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})) if threads == 1 else None
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
            env=environment, preexec_fn=pin)

    def ask(self, op, **request):
        self.process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SideError(f"{self.name} ended at '{op}' {request} with exit code {self.process.wait()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
