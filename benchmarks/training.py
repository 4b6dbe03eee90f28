"""Steps of every training objective: images a second, and what share of the processor's arithmetic they use.

    python -m benchmarks.training --backbone mobilenetv2_100 --crop 224 --batch 16

The roof is the rate of a large matrix product with the same threads, measured before and after. Operations are those of
the passes forwards, counted by torch, times 3 (it overcounts the way back of depthwise convolutions). Depthwise
convolutions, normalisation and activations have few operations a byte, so a network made of them stays far below the
roof. The last column says how many training views a second one loader process prepares.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.pictures import picture, use
from wsss.compute.devices import autocast_type, prepare_cpu, tune_for
from wsss.data.index import Item
from wsss.data.loading import Batch, TrainingViews, collate
from wsss.losses.base import Loss, TrainingStep
from wsss.models.classifier import Classifier
from wsss.objectives import find
from wsss.objectives.base import Objective
from wsss.settings import variants
from wsss.store.manifest import write_manifest
from wsss.store.weights import save_weights
from wsss.training.optimisers import build_optimiser

CLASSES = 20
MIDDLE = TrainingStep(50, 0.5)


def roof(device: torch.device, kind: torch.dtype) -> float:
    """Operations a second of a matrix product."""
    side = 8192 if device.type == "cuda" else 2048
    matrix = torch.randn(side, side, device=device, dtype=kind)
    seconds = timed(lambda: matrix @ matrix, device, 7)
    return 2 * side**3 / seconds


def timed(work, device: torch.device, repeats: int) -> float:
    """Median seconds, after one run that does not count."""
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def photos(folder: Path, count: int) -> list[Item]:
    pixels, items = picture((375, 500)), []
    for number in range(count):
        path = folder / f"{number}.jpg"
        Image.fromarray(np.roll(pixels, 31 * number, (0, 1))).save(path, quality=90)
        items.append(
            Item(f"{number}", "train", path, None, 375, 500, (number % CLASSES, (number + 7) % CLASSES), False)
        )
    return items


class Step:
    """One optimiser step of an objective, as the engine does it."""

    def __init__(self, objective: Objective, settings, device: torch.device, batch: Batch) -> None:
        self.objective, self.batch, self.device = objective, batch, device
        self.type = autocast_type(settings.precision, device)
        for network in (*objective.networks.values(), *objective.fixed.values()):
            network.to(device, memory_format=torch.channels_last)
            tune_for(network, device)
        for network in objective.networks.values():
            network.train()
        for network in objective.fixed.values():
            network.eval()
        self.optimisers = [build_optimiser(network, settings) for network in objective.networks.values()]

    def compile(self) -> None:
        for network in (*self.objective.networks.values(), *self.objective.fixed.values()):
            network.forward = torch.compile(network.forward)

    def __call__(self) -> None:
        losses = self.objective.losses(self.batch, MIDDLE)
        while (loss := self.forwards(losses)) is not None:
            loss.value.backward()
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def forwards(self, losses: Iterator[Loss]) -> Loss | None:
        with torch.autocast(self.device.type, self.type, enabled=self.type != torch.float32):
            return next(losses, None)

    def operations(self) -> int:
        """Of the passes forwards, times 3."""
        total, losses, loss = 0, self.objective.losses(self.batch, MIDDLE), True
        while loss is not None:
            with FlopCounterMode(display=False) as counter:
                loss = self.forwards(losses)
            total += counter.get_total_flops()
            if loss is not None:
                loss.value.backward()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        return 3 * total


def judge(folder: Path, backbone: str, stride: int) -> Path:
    network = Classifier(backbone, CLASSES, stride)
    about = {"backbone": backbone, "output_stride": stride, "classes": [f"{n}" for n in range(CLASSES)]}
    save_weights(folder / "model.safetensors", network.state_dict(), about)
    write_manifest(folder, {})
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mobilenetv2_100")
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--only", nargs="+", default=("vanilla", "puzzle", "oc-cse", "p-oc", "p-noc"))
    parser.add_argument("--photos", type=Path, help="JPEG files to make the pictures of")
    args = parser.parse_args()
    use(args.photos)
    device = torch.device(args.device)
    prepare_cpu(args.threads)
    print("| objective | images/s | operations an image | share of the roof | views/s of one loader process |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        items, given = photos(Path(scratch), args.batch), judge(Path(scratch), args.backbone, 16)
        for name in args.only:
            kinds = {"backbone": args.backbone, "pretrained": False, "crop": args.crop, "batch_size": args.batch}
            kinds |= {"long_side": (args.crop, args.crop * 3 // 2), "precision": args.precision}
            kinds |= {"ordinary": "x"} if "ordinary" in variants("classifiers")[name].model_fields else {}
            settings = variants("classifiers")[name](**kinds)
            views = TrainingViews(items, CLASSES, settings, 0)
            start = time.perf_counter()
            loaded = [views[0, number] for number in range(args.batch)]
            rate = args.batch / (time.perf_counter() - start)
            frequencies = torch.full((CLASSES,), 1 / CLASSES)
            objective = find(name)(settings, CLASSES, {"ordinary": given}, frequencies)
            step = Step(objective, settings, device, collate(loaded).to(device))
            operations = step.operations()
            if args.compile:
                step.compile()
            before = roof(device, step.type)
            seconds = timed(step, device, args.repeats)
            best = max(before, roof(device, step.type))
            print(
                f"| {name} | {args.batch / seconds:.1f} | {operations / args.batch / 1e9:.2f} G | "
                f"{operations / seconds / best:.0%} of {best / 1e9:.0f} G/s | {rate:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
