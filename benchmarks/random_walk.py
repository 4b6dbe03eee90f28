"""Time and memory of the random walk beside what it replaces, in one run.

    nice -n 19 python benchmarks/random_walk.py --threads 1 --dense one

A 375x500 image (grid 94x125), two maps, radius 5, beta 10, 256 steps, and the weights built from the edges each time:
the Chebyshev stencil of ``wsss.refine.random_walk``, the same stencil 256 times, a scipy CSR matrix 256 times, and the
dense matrix squared 8 times (what IRN and P-NOC do). Times are medians of runs taken in turn; memory is the peak of a
fresh process less what it held before; differences are to the walk in double. Last, the memory of a 1024x2048 image.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional as F

from wsss.refine.affinities import neighbour_affinities
from wsss.refine.random_walk import random_walk

RADIUS, BETA, STEPS = 5, 10.0, 256
VOC, WIDE = (94, 125), (256, 512)


def scene(size: tuple[int, int], maps: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth blobs (1, K, h, w), and edges (1, h, w) that are mostly low with sharp ridges."""
    generator = torch.Generator().manual_seed(0)
    blobs = torch.rand(1, maps, 6, 8, generator=generator) ** 3
    ridges = torch.randn(1, 1, 10, 13, generator=generator)
    grow = {"size": size, "mode": "bicubic", "align_corners": False}
    edges = torch.exp(-((F.interpolate(ridges, **grow)[0] / 0.15) ** 2)) * 0.9 + 0.02
    return F.interpolate(blobs, **grow).clamp(0, 1), edges.clamp(0, 1)


def chebyshev(maps: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    return random_walk(maps, edges, radius=RADIUS, beta=BETA, steps=STEPS)


def plain(maps: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    return random_walk(maps, edges, radius=RADIUS, beta=BETA, steps=STEPS, plain=True)


def weights(edges: torch.Tensor, kind: torch.dtype) -> sparse.csr_matrix:
    """A = W^beta (N, N)."""
    cells = edges[0].numel()
    diagonals = [(o, (w[0, 0].to(kind) ** BETA).cpu().numpy()) for o, w in neighbour_affinities(edges.to(kind), RADIUS)]
    upper = sparse.diags([w for _, w in diagonals], [o for o, _ in diagonals], shape=(cells, cells), format="csr")
    upper.eliminate_zeros()
    return (upper + upper.T + sparse.identity(cells, dtype=upper.dtype, format="csr")).tocsr()


def csr(maps: torch.Tensor, edges: torch.Tensor, kind: torch.dtype = torch.float32) -> torch.Tensor:
    matrix = weights(edges, kind)
    scale = (1 / np.asarray(matrix.sum(0, dtype=np.float64)).T).astype(matrix.dtype)
    x = (maps * (1 - edges)[:, None])[0].flatten(1).T.to(kind).cpu().numpy()
    for _ in range(STEPS):
        x = (matrix @ x) * scale
    return torch.from_numpy(x.T.copy()).view(maps.shape)


def transition(edges: torch.Tensor) -> torch.Tensor:
    """T (N, N)."""
    matrix = torch.from_numpy(weights(edges, torch.float32).toarray()).to(edges.device)
    return matrix.div_(matrix.sum(0, keepdim=True, dtype=torch.float64).float())


def dense(maps: torch.Tensor, edges: torch.Tensor, squarings: int = 8) -> torch.Tensor:
    matrix = transition(edges)
    for _ in range(squarings):
        matrix = matrix @ matrix
    return ((maps * (1 - edges)[:, None])[0].flatten(1) @ matrix).view(maps.shape)


WALKS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "chebyshev": chebyshev,
    "plain": plain,
    "csr": csr,
    "dense": dense,
    "dense-one": lambda maps, edges: dense(maps, edges, 1),
}
NAMES = {"chebyshev": "Chebyshev stencil", "plain": "stencil, 256 times", "csr": "scipy CSR, 256 times"}


def status(key: str) -> float:
    """A figure of this process's memory in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def alone(name: str, size: tuple[int, int], threads: int, device: str) -> dict:
    """Seconds of one walk in a fresh process, and its peak memory in MiB above what the process held before."""
    command = [sys.executable, __file__, "--one", name, "--size", *map(str, size)]
    command += ["--threads", str(threads), "--device", device]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def one(name: str, size: tuple[int, int], device: str) -> dict:
    """What ``alone`` runs."""
    maps, edges = (tensor.to(device) for tensor in scene(size))
    WALKS["chebyshev" if name == "plain" else name](*(t.to(device) for t in scene((12, 15))))  # what imports cost
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory goes back, or the walk would use it unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = status("VmRSS")
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    result = WALKS[name](maps, edges)
    largest = float(result.max())  # waits for the device
    seconds = time.perf_counter() - start
    if name == "dense-one":  # seven more squarings, but not seven more matrices
        start = time.perf_counter()
        transition(edges)
        built = time.perf_counter() - start
        seconds = built + 8 * (seconds - built)
    memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else status("VmHWM") - before
    difference = None
    if name in ("dense", "plain", "chebyshev"):
        difference = float((result.cpu() - csr(maps.cpu(), edges.cpu(), torch.float64)).abs().max()) / largest
    return {"seconds": seconds, "memory": memory, "difference": difference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument(
        "--dense", default="one", choices=("all", "one", "skip"), help="8 squarings, one of them times 8, or none"
    )
    parser.add_argument("--skip-dense", action="store_const", const="skip", dest="dense")
    parser.add_argument("--one", choices=WALKS, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, default=VOC, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        print(json.dumps(one(args.one, tuple(args.size), args.device)))
        return
    maps, edges = (tensor.to(args.device) for tensor in scene(VOC))
    exact = csr(maps.cpu(), edges.cpu(), torch.float64)
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    differences = {}
    for _ in range(args.repeats + 1):
        for name in NAMES:
            start = time.perf_counter()
            result = WALKS[name](maps, edges).cpu()
            seconds[name].append(time.perf_counter() - start)
            differences[name] = float((result - exact).abs().max() / exact.max())
    rows = []
    for name, title in NAMES.items():
        memory = alone(name, VOC, args.threads, args.device)["memory"]
        rows.append((title, statistics.median(seconds[name][1:]), memory, f"{differences[name]:.1e}"))
    if args.dense == "all":
        found = alone("dense", VOC, args.threads, args.device)
        rows.append(("dense, 8 squarings", found["seconds"], found["memory"], f"{found['difference']:.1e}"))
    elif args.dense == "one":
        found = alone("dense-one", VOC, args.threads, args.device)
        rows.append(("dense, one squaring x 8", found["seconds"], found["memory"], ""))
    print(f"grid {VOC[0]}x{VOC[1]}, {args.device}, {args.threads} threads, medians of {args.repeats}\n")
    print("| walk of 256 steps, 2 maps | time | ratio | memory | largest difference |")
    print("|---|---|---|---|---|")
    for title, time_taken, memory, difference in rows:
        shown = f"{time_taken * 1000:.1f} ms" if time_taken < 10 else f"{time_taken:.0f} s"
        print(f"| {title} | {shown} | {time_taken / rows[0][1]:.1f} | {memory:.1f} MiB | {difference} |")
    wide = alone("chebyshev", WIDE, args.threads, args.device)
    print(f"\n1024x2048 pixels (grid {WIDE[0]}x{WIDE[1]}): {wide['memory']:.0f} MiB, {wide['seconds'] * 1000:.0f} ms")


if __name__ == "__main__":
    main()
