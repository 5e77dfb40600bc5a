"""One peer in a process of its own: reads a file, scores it where it is to; prints rows, CPU and wall seconds.

    python side.py decode|path PEER FORMAT FILE THREADS
"""
import json
import os
import sys
import time
from pathlib import Path

job, peer, form, path, threads = sys.argv[1:6]
os.environ["POLARS_MAX_THREADS"] = os.environ["OMP_NUM_THREADS"] = threads
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "speed"))
import numpy as np  # noqa: E402

# As the daemon's flow of such rows: RealNVP of 8 coupling layers, 64 hidden.
BATCH = 65_536


def pandas_frames():
    import pandas
    if form == "csv":
        yield from pandas.read_csv(path, chunksize=BATCH)
    else:
        yield from pandas.read_json(path, lines=True, chunksize=BATCH)


def polars_frame():
    import polars
    return polars.read_csv(path) if form == "csv" else polars.read_ndjson(path)


def duckdb_arrays():
    import duckdb
    reader = "read_csv" if form == "csv" else "read_json"
    base = duckdb.connect(config={"threads": int(threads)})
    return base.sql(f"SELECT * FROM {reader}('{path}')").fetchnumpy()


def decode():
    if peer == "pandas":
        return sum(len(frame) for frame in pandas_frames())
    if peer == "polars":
        return polars_frame().height
    return len(next(iter(duckdb_arrays().values())))


def scorer():
    from flow import Shape, make_weights
    shape = Shape(8, 8, 64)
    weights = make_weights(shape)
    if peer == "pandas":
        import torch
        from peers.torch_eager import Peer
        model = Peer(shape, weights, int(threads)).model

        def score(x):
            with torch.no_grad():
                return model(torch.from_numpy(x)).numpy()
        return score
    from peers.onnx_peer import Peer
    session = Peer(shape, weights, int(threads)).session
    return lambda x: session.run(None, {"x": x})[0]


def whole_path(score):
    count = anomalies = 0
    if peer == "pandas":
        tables = (frame.to_numpy(np.float32) for frame in pandas_frames())
    else:
        table = polars_frame().to_numpy().astype(np.float32)
        tables = (table[begin:begin + BATCH] for begin in range(0, len(table), BATCH))
    for x in tables:
        x = np.ascontiguousarray((x - x.mean(0)) / x.std(0))
        anomalies += int((score(x) < -30).sum())
        count += len(x)
    return count


score = scorer() if job == "path" else None
__import__(peer)
cpu, wall = time.process_time(), time.monotonic()
rows = decode() if job == "decode" else whole_path(score)
print(json.dumps({"rows": rows, "cpuSeconds": time.process_time() - cpu, "wallSeconds": time.monotonic() - wall}))
