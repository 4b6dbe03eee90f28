"""The one training loop: precision, devices, schedules, accumulation, checkpoints, resume, progress.

Everything random is a function of (seed, step), never of what ran before. A training that was killed at any moment and
started again therefore ends, on the CPU, with the same bits as one that was left alone.

Several processes (``wsss.system.launch``) share each micro-batch. Losses are means over all of it, gradients are summed
over the processes, and batch normalisation sees all of it too, so the result does not depend on their number, but for
the order in which sums are taken and for dropout. A training may go on with another number than it began with.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from wsss.compute.batch_norm import synchronise
from wsss.compute.collectives import all_reduce_max, average_or_broadcast, ranks
from wsss.compute.devices import TYPES, autocast_type, can_autocast, loader_workers, tune_for
from wsss.data.loading import Batch, TrainingViews, training_loader
from wsss.data.sampling import Order
from wsss.errors import WsssError
from wsss.losses.base import TrainingStep
from wsss.objectives.base import Objective
from wsss.runtime.run import Run
from wsss.settings import TrainingSettings
from wsss.system.exit import Interrupted
from wsss.system.failures import writing
from wsss.system.files import atomic_path, flush_to_disk
from wsss.system.log import say
from wsss.system.progress import Progress
from wsss.training.averaging import WeightAverage
from wsss.training.loggers import Logger, check_log, logger
from wsss.training.optimisers import build_optimiser, rate_at, set_rate

VERSION = 1
CHECKPOINT_SECONDS = 60.0
"""Between checkpoints: what a kill can cost."""
RECORDS_AN_EPOCH = 4
"""Lines in metrics.jsonl."""
LATEST = "checkpoint.pt"
METRICS = "metrics.jsonl"


class Trainer:
    """Trains the networks of an objective.

    Args:
        objective: Networks and losses.
        views: Training views.
        settings: Epochs, batch, optimiser, precision.
        run: The stage's run: state folder, seed, threads, stop signal, and the identity of what it makes: a checkpoint
            of another identity is not resumed, and stays where it is.
        device: Where to train.
        chances: As for ``wsss.data.sampling.Order``; None: every view once an epoch.

    Raises:
        WsssError: The training is too short for one optimiser step, or what is to log it is not installed.
    """

    def __init__(
        self,
        objective: Objective,
        views: TrainingViews,
        settings: TrainingSettings,
        run: Run,
        device: torch.device,
        chances: np.ndarray | None = None,
    ) -> None:
        check_log(settings.log)
        self.objective, self.views, self.settings, self.run, self.device = objective, views, settings, run, device
        self.chances = chances
        self.rank, self.ranks = ranks()
        self.networks = {n: m.to(device).to(memory_format=torch.channels_last) for n, m in objective.networks.items()}
        for name, network in self.networks.items():
            tune_for(network, device)
            network.train()
            if self.ranks > 1 and settings.batch_norm != "per-process":
                synchronise(network)
            if objective.batch_norm(name, settings.batch_norm) == "fixed":
                network.fix_batch_norm()
        for network in objective.fixed.values():
            network.to(device).to(memory_format=torch.channels_last)
            tune_for(network, device)
            network.eval()
        if settings.compile:  # in place of the instances' own method: names of weights stay, unlike in a wrapper
            for network in (*self.networks.values(), *objective.fixed.values()):
                network.forward = torch.compile(network.forward)
        torch.backends.cudnn.benchmark = True  # all batches have one shape: a GPU may look for its fastest kernels
        self.average = WeightAverage(self.networks[objective.product], settings)
        self.optimisers = {n: build_optimiser(m, settings) for n, m in self.networks.items()}
        self.type = autocast_type(settings.precision, device)
        scaled = self.type == torch.float16
        self.scalers = {n: torch.amp.GradScaler(device.type, enabled=scaled) for n in self.networks}
        self.per_epoch = len(views) // settings.batch_size
        self.micro_steps = self.per_epoch * settings.epochs
        self.steps = self.micro_steps // settings.accumulate
        if 0 < self.micro_steps < settings.accumulate:
            raise WsssError(
                f"{settings.epochs} epochs of {self.per_epoch} micro-batches are fewer than the {settings.accumulate} "
                "of one optimiser step, so nothing would be trained: raise 'epochs', lower 'batch_size' "
                f"({settings.batch_size}, for {len(views)} images), or lower 'accumulate'"
            )
        self.folder = run.state / run.identity
        self.folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint, self.metrics = self.folder / LATEST, self.folder / METRICS
        self.statistics = [
            getattr(layer, name)
            for network in self.networks.values()
            for layer in network.modules()
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training and layer.track_running_stats
            for name in ("running_mean", "running_var")
        ]
        self.sums: dict[str, torch.Tensor] = {}
        self.counted: dict[str, int] = {}
        self.step = 0
        self.log = Logger()
        self.spent, self.started, self.waited = 0.0, time.monotonic(), 0.0

    def train(self) -> nn.Module:
        """Train to the end, or go on from the checkpoint, and return the objective's product in eval mode.

        Raises:
            Interrupted: A signal asked to stop; the state is saved.
            WsssError: A loss or a weight is not finite.
        """
        self._resume()
        for network in self.networks.values():  # random numbers differ between kinds of processors
            average_or_broadcast((t for t in network.state_dict().values() if t.is_floating_point()), mean=False)
        order = Order(
            len(self.views),
            self.settings.batch_size,
            self.settings.epochs,
            self.run.args.seed,
            self.step,
            self.rank,
            self.ranks,
            self.chances,
        )
        workers = loader_workers(self.run.args.threads, self.device)
        self._saved = time.monotonic()
        with (
            logger(self.settings if self.rank == 0 else None, self.run, self.metrics) as self.log,
            Progress(self.micro_steps, self.step, "training", self.rank == 0) as progress,
        ):
            for batch in self._arriving(training_loader(self.views, order, workers)) if len(order) else ():
                self._micro_step(batch.to(self.device))
                progress.advance(self._latest)
                if (self.step % self.settings.accumulate) and self.step < self.micro_steps:
                    continue  # half an optimiser step is never saved
                stop, late = self._must()
                if stop or late:
                    self._save()
                if stop:
                    all_reduce_max([0.0], self.device)  # none leaves before the first one has saved
                    raise Interrupted(self.run.stop)
            self._save()
        self.average.finish()
        self.run.record(
            processes=self.ranks,
            training_seconds=round(self._seconds(), 2),
            waiting_seconds=round(self.waited, 2),  # for images
        )
        product = self.networks[self.objective.product].eval()
        vars(product).pop("forward", None)  # compiled for one size of images
        return product

    def _arriving(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """The batches of a loader, and how long they are waited for."""
        batches = iter(loader)
        while True:
            start = time.monotonic()
            batch = next(batches, None)
            self.waited += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def _micro_step(self, batch: Any) -> None:
        s = self.settings
        torch.manual_seed((self.run.args.seed * self.micro_steps + self.step) * self.ranks + self.rank)  # dropout
        training_step = TrainingStep(self.step, self.step / self.micro_steps)
        parts: dict[str, torch.Tensor] = {}
        weight = 1 / s.accumulate if s.accumulate_mode == "mean" else 1.0
        losses = self.objective.losses(batch, training_step)
        while True:
            with self._autocast():
                loss = next(losses, None)
            if loss is None:
                break
            torch.autograd.backward(self.scalers[loss.network].scale(loss.value * weight))
            parts |= loss.parts
        self.step += 1
        if self.step % s.accumulate == 0:
            self._optimiser_step()
        if self.step % self.per_epoch == 0:
            self.average.after_epoch(self.step // self.per_epoch - 1)
        self._record(parts)

    def _optimiser_step(self) -> None:
        factor = rate_at(self.step // self.settings.accumulate - 1, self.steps, self.settings)
        for name, optimiser in self.optimisers.items():
            scaler = self.scalers[name]
            average_or_broadcast((p.grad for p in self.networks[name].parameters() if p.grad is not None), mean=True)
            set_rate(optimiser, factor, self.settings)
            if not any(p.grad is not None for group in optimiser.param_groups for p in group["params"]):
                continue
            if self.settings.clip_norm is not None:
                scaler.unscale_(optimiser)
                nn.utils.clip_grad_norm_(self.networks[name].parameters(), self.settings.clip_norm)
            scaler.step(optimiser)
            scaler.update()
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        if self.settings.batch_norm == "per-process":  # the mean over all: a checkpoint, like the product, has one set
            average_or_broadcast(self.statistics, mean=True)
        self.average.after_step(self.step // self.settings.accumulate - 1)

    def _autocast(self) -> Any:
        if self.type == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.type)

    def _record(self, parts: dict[str, torch.Tensor]) -> None:
        for name, value in parts.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=self.device)) + value.float()
            self.counted[name] = self.counted.get(name, 0) + 1
        self._latest = ""
        position = self.step % self.per_epoch or self.per_epoch
        due = position * RECORDS_AN_EPOCH // self.per_epoch != (position - 1) * RECORDS_AN_EPOCH // self.per_epoch
        if due or self.step % self.settings.accumulate == 0:
            # a checkpoint may follow, and all processes must judge the same numbers
            average_or_broadcast(self.sums.values(), mean=True)
        if not due:
            return
        self._check_finite()
        means = {name: float(total) / self.counted[name] for name, total in self.sums.items()}
        factor = rate_at((self.step - 1) // self.settings.accumulate, self.steps, self.settings)
        record = {"step": self.step, "epoch": round(self.step / self.per_epoch, 3), "lr": self.settings.lr * factor}
        record |= {name: round(value, 6) for name, value in means.items()}
        if self.rank == 0:
            with writing(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            self.log.record(record)
        self.sums, self.counted = {}, {}
        self._latest = " ".join(f"{name} {value:.3f}" for name, value in means.items())

    def _check_finite(self) -> None:
        """Raise, in all processes or in none, if a loss since the last record or a weight is not finite."""
        wrong = [name for name, total in self.sums.items() if not math.isfinite(float(total))]
        finite = [p.isfinite().all() for network in self.networks.values() for p in network.parameters()]
        if not wrong and not torch.stack(finite).all():
            wrong = ["a weight"]
        if wrong:
            last = (
                f"the last sound checkpoint is {self.checkpoint}" if self.checkpoint.exists() else "no checkpoint yet"
            )
            raise WsssError(
                f"training step {self.step}: {', '.join(wrong)} is not finite; lower 'lr', or set 'clip_norm' or "
                f"'precision: fp32' ({last})"
            )

    def _must(self) -> tuple[bool, bool]:
        """Whether to stop, and whether a checkpoint is due: the same answer in all processes."""
        late = time.monotonic() - self._saved > CHECKPOINT_SECONDS
        stop, late = map(bool, all_reduce_max([self.run.stop is not None, late], self.device))
        if stop and self.run.stop is None:
            self.run.stop = "a signal to another process"
        return stop, late

    def _seconds(self) -> float:
        """How long this training has taken, with the runs before it, up to the checkpoint that each left."""
        return self.spent + time.monotonic() - self.started

    def _save(self) -> None:
        self._check_finite()
        self._saved = time.monotonic()
        if self.rank != 0:
            return
        if self.metrics.exists():
            flush_to_disk(self.metrics)  # the checkpoint tells its length
        state = {
            "type": str(self.type),
            "step": self.step,
            "seconds": self._seconds(),
            "waited": self.waited,
            "networks": {n: m.state_dict() for n, m in self.networks.items()},
            "optimisers": {n: o.state_dict() for n, o in self.optimisers.items()},
            "scalers": {n: s.state_dict() for n, s in self.scalers.items()},
            "objective": self.objective.state(),
            "average": self.average.state(),
            "sums": self.sums,
            "counted": self.counted,
            "metrics": self.metrics.stat().st_size if self.metrics.exists() else 0,
        }
        with atomic_path(self.checkpoint) as temporary, temporary.open("wb") as file:
            torch.save(state, file)

    def _resume(self) -> None:
        self._latest = ""
        state = None
        if self.checkpoint.is_file():
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            self._go_on_in(state["type"])
        elif others := sorted(self.run.state.glob(f"*/{LATEST}")):
            self._say(
                f"{len(others)} unfinished training(s) of other settings, inputs or versions lie here and are kept "
                f"({', '.join(one.parent.name for one in others[:3])}); this one starts at step 0"
            )
        step = -1.0 if state is None else state["step"]
        if all_reduce_max([step, -step], self.device) != [step, -step]:
            raise WsssError(
                f"{self.checkpoint}: the processes of this training do not see the same checkpoint; the folder of "
                "--state must lie on a file system that all their machines share"
            )
        if state is None:
            if self.rank == 0:
                self.metrics.unlink(missing_ok=True)
            return
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
            self.optimisers[name].load_state_dict(state["optimisers"][name])
            if self.scalers[name].is_enabled() and state["scalers"][name]:
                self.scalers[name].load_state_dict(state["scalers"][name])
        self.objective.load_state(state["objective"])
        self.average.load_state(state["average"])
        self.step, self.sums, self.counted = state["step"], state["sums"], state["counted"]
        self.spent, self.waited = state["seconds"], state["waited"]
        if self.rank == 0 and self.metrics.exists():
            os.truncate(self.metrics, min(state["metrics"], self.metrics.stat().st_size))
        self._say(f"going on at step {self.step} of {self.micro_steps}")

    def _go_on_in(self, kept: str) -> None:
        """Take the autocast type that a training began with, where it was left to ``auto`` and this device has it."""
        if kept == str(self.type):
            return
        wanted = TYPES[kept]
        if self.settings.precision == "auto" and can_autocast(wanted, self.device):
            self.type = wanted
            scaled = wanted == torch.float16
            self.scalers = {name: torch.amp.GradScaler(self.device.type, enabled=scaled) for name in self.networks}
            self._say(f"going on in {kept.removeprefix('torch.')}, in which this training began")
        else:
            self._say(
                f"this training began in {kept.removeprefix('torch.')} and goes on in "
                f"{str(self.type).removeprefix('torch.')}: this device does not have the former"
            )

    def _say(self, message: str) -> None:
        if self.rank == 0:
            say(message)


def keep_product(run: Run) -> None:
    """Copy the metrics into the artefact: the training is over. The checkpoint goes when the artefact is whole, so that
    a stage that is killed before does not train again."""
    folder = run.state / run.identity
    if (folder / METRICS).exists():
        with atomic_path(run.out / METRICS) as temporary:
            shutil.copyfile(folder / METRICS, temporary)
    run.leftovers.append(folder)
