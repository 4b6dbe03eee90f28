"""The one training loop: precision, devices, schedules, accumulation, checkpoints, resume, progress.

Everything random is a function of (seed, step), never of what ran before. A training that was killed at any moment and
started again therefore ends, on the CPU, with the same bits as one that was left alone.

Several processes (``wsss.system.launch``) share each micro-batch. Losses are means over all of it, gradients are summed
over the processes, and batch normalisation sees all of it too, so the result does not depend on their number, but for
the order in which sums are taken and for dropout. A training may resume with another number than it began with.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from wsss.compute.batch_norm import synchronise
from wsss.compute.collectives import all_reduce_max, average_or_broadcast, ranks
from wsss.compute.devices import loader_workers, tune_for
from wsss.data.loading import ByteBatch, TrainingViews, training_loader
from wsss.data.sampling import Order
from wsss.errors import WsssError
from wsss.losses.base import TrainingStep
from wsss.models.backbone import Trainable
from wsss.objectives.base import Objective
from wsss.runtime.run import Run
from wsss.settings import TrainingSettings
from wsss.system.exit import Interrupted
from wsss.system.log import log
from wsss.system.progress import Progress
from wsss.training.averaging import WeightAverage
from wsss.training.checkpoint import Checkpoint
from wsss.training.loggers import check_log, logger
from wsss.training.optimisers import build_optimiser, rate_at, set_rate
from wsss.training.precision import Precision
from wsss.training.records import METRICS, Records

VERSION = 1
CHECKPOINT_SECONDS = 60.0
"""Between checkpoints: what a kill can cost."""
CHECKPOINT_COST = CHECKPOINT_SECONDS / 30
"""Seconds that one may take. Where it takes longer they come less often: a thirtieth of the time goes into them."""


class Trainer:
    """Trains the networks of an objective.

    Args:
        objective: Networks and losses.
        views: Training views.
        settings: Epochs, batch, optimiser, precision.
        run: The stage's run: state folder, seed, threads, stop signal, and the identity of what it makes.
        device: Where to train.
        chances: As for ``wsss.data.sampling.Order``; None: every view once an epoch.

    Attributes:
        step: Micro-batches that are done.
        micro_steps: Micro-batches of the whole training; ``per_epoch``: of an epoch.
        steps: Optimiser steps of the whole training.

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
        self.networks = prepared(objective, settings, device, self.ranks)
        self.average = WeightAverage(self.networks[objective.product], settings)
        if settings.compile:  # in place of the instances' own method: names of weights stay, unlike in a wrapper
            for network in (*self.networks.values(), *objective.fixed.values()):
                network.forward = torch.compile(network.forward)
        self.optimisers = {n: build_optimiser(m, settings) for n, m in self.networks.items()}
        self.precision = Precision(settings.precision, device, self.networks, objective.crossed())
        self.statistics = list(running_statistics(self.networks.values()))
        self.per_epoch = len(views) // settings.batch_size
        self.micro_steps = self.per_epoch * settings.epochs
        self.steps = self.micro_steps // settings.accumulate
        if 0 < self.micro_steps < settings.accumulate:
            raise WsssError(
                f"{settings.epochs} epochs of {self.per_epoch} micro-batches are fewer than the {settings.accumulate} "
                "of one optimiser step, so nothing would be trained: raise 'epochs', lower 'batch_size' "
                f"({settings.batch_size}, for {len(views)} images), or lower 'accumulate'"
            )
        self.checkpoint = Checkpoint(run)
        metrics = self.checkpoint.folder / METRICS
        self.records = Records(metrics, device, self.per_epoch, settings.accumulate, writes=self.rank == 0)
        self.step = 0
        self.seconds_before, self.started, self.waited = 0.0, time.monotonic(), 0.0

    def train(self) -> nn.Module:
        """Train to the end, from the checkpoint where there is one, and return the objective's product in eval mode.

        Raises:
            Interrupted: A signal asked to stop; the state is saved.
            WsssError: A loss or a weight is not finite.
        """
        s, run, device = self.settings, self.run, self.device
        self._resume()
        for network in self.networks.values():  # random numbers differ between kinds of processors
            average_or_broadcast((t for t in network.state_dict().values() if t.is_floating_point()), mean=False)
        order = Order(
            len(self.views), s.batch_size, s.epochs, run.args.seed, self.step, self.rank, self.ranks, self.chances
        )
        loader = training_loader(self.views, order, loader_workers(run.args.threads, device), device)
        self.saved = time.monotonic()
        with (
            logger(s if self.rank == 0 else None, run, self.records.path) as self.records.log,
            Progress(self.micro_steps, self.step, "training", self.rank == 0) as progress,
            kernels_for_training(s.deterministic),
        ):
            for batch in self._timed(loader) if len(order) else ():
                self._micro_step(batch.to(device))
                progress.advance(self.records.latest)
                if (self.step % s.accumulate) and self.step < self.micro_steps:
                    continue  # half an optimiser step is never saved
                stop, late = self._must()
                if stop or late:
                    self._save()
                if stop:
                    self.checkpoint.settle()
                    all_reduce_max([0.0], device)  # none leaves before the first one has saved
                    raise Interrupted(run.stop)
            self._save()
            self.checkpoint.settle()
        self.average.finish()
        run.record(
            processes=self.ranks,
            training_seconds=round(self._seconds(), 2),
            waiting_seconds=round(self.waited, 2),  # for images
        )
        product = self.networks[self.objective.product].eval()
        vars(product).pop("forward", None)  # compiled for one size of images
        return product

    def _timed(self, loader: Iterable[ByteBatch]) -> Iterator[ByteBatch]:
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
        parts: dict[str, torch.Tensor] = {}
        weight = 1 / s.accumulate if s.accumulate_mode == "mean" else 1.0
        losses = self.objective.losses(batch, self._now())
        while True:
            with self.precision.autocast():
                loss = next(losses, None)
            if loss is None:
                break
            torch.autograd.backward(self.precision.scalers[loss.network].scale(loss.value * weight))
            parts |= loss.parts
        self.step += 1
        if self.step % s.accumulate == 0:
            self._optimiser_step()
        if self.step % self.per_epoch == 0:
            self.average.after_epoch(self.step // self.per_epoch - 1)
        if self.records.add(self.step, parts):
            self._check_finite()
            self.records.write(self.step, s.lr * rate_at((self.step - 1) // s.accumulate, self.steps, s))

    def _now(self) -> TrainingStep:
        return TrainingStep(self.step, self.step / self.micro_steps, self.step // self.per_epoch)

    def _optimiser_step(self) -> None:
        s = self.settings
        done = self.step // s.accumulate - 1
        stepped = []
        for name, optimiser in self.optimisers.items():
            scaler, network = self.precision.scalers[name], self.networks[name]
            average_or_broadcast((p.grad for p in network.parameters() if p.grad is not None), mean=True)
            set_rate(optimiser, rate_at(done, self.steps, s) * self.objective.lr_mult(name), s)
            if not any(p.grad is not None for group in optimiser.param_groups for p in group["params"]):
                continue
            if s.clip_norm is not None:
                scaler.unscale_(optimiser)
                nn.utils.clip_grad_norm_(network.parameters(), s.clip_norm)
            scaler.step(optimiser)
            stepped.append(name)
        self.precision.update(stepped)
        for optimiser in self.optimisers.values():
            optimiser.zero_grad(set_to_none=True)
        if s.batch_norm == "per-process":  # the mean over all: a checkpoint, like the product, has one set
            average_or_broadcast(self.statistics, mean=True)
        self.average.after_step(done)
        self.objective.after_step(self._now())

    # --- stopping, saving, resuming -------------------------------------------------------------------------------

    def _must(self) -> tuple[bool, bool]:
        """Whether to stop, and whether a checkpoint is due: the same answer in all processes."""
        late = time.monotonic() - self.saved > CHECKPOINT_SECONDS * max(1.0, self.checkpoint.cost / CHECKPOINT_COST)
        stop, late = map(bool, all_reduce_max([self.run.stop is not None, late], self.device))
        if stop and self.run.stop is None:
            self.run.stop = "a signal to another process"
        return stop, late

    def _check_finite(self) -> None:
        self.records.check_finite(self.step, self.networks.values(), self.checkpoint.path)

    def _seconds(self) -> float:
        """How long this training has taken, with the runs before it, up to the checkpoint that each left."""
        return self.seconds_before + time.monotonic() - self.started

    def _save(self) -> None:
        self._check_finite()
        self.saved = time.monotonic()
        if self.rank != 0:
            return
        save = self.checkpoint.begin_save if self.device.type == "cuda" else self.checkpoint.save
        save(
            {
                "step": self.step,
                "seconds": self._seconds(),
                "waited": self.waited,
                "networks": {n: m.state_dict() for n, m in self.networks.items()},
                "optimisers": {n: o.state_dict() for n, o in self.optimisers.items()},
                "objective": self.objective.state(),
                "average": self.average.state(),
                **self.precision.state(),
                **self.records.state(),
            }
        )
        self.saved = time.monotonic()

    def _resume(self) -> None:
        state = self.checkpoint.load(self.device)
        if state is None:
            if others := self.checkpoint.others():
                self._say(
                    f"{len(others)} unfinished training(s) of other settings, inputs or versions lie here and are kept "
                    f"({', '.join(others[:3])}); this one starts at step 0"
                )
            self.records.begin()
            return
        if (remark := self.precision.resume_in(state["type"])) is not None:
            self._say(remark)
        for name, network in self.networks.items():
            network.load_state_dict(state["networks"][name])
            self.optimisers[name].load_state_dict(state["optimisers"][name])
        for part in (self.precision, self.records):
            part.load_state(state)
        self.objective.load_state(state["objective"])
        self.average.load_state(state["average"])
        self.step, self.seconds_before, self.waited = state["step"], state["seconds"], state["waited"]
        self._say(f"resuming at step {self.step} of {self.micro_steps}")

    def _say(self, message: str) -> None:
        if self.rank == 0:
            log.info(message)


@contextlib.contextmanager
def kernels_for_training(deterministic: bool) -> Iterator[None]:
    """How a GPU chooses kernels within the block: the fastest that it finds, for all batches have one shape; or, with
    ``deterministic``, those alone whose result is the same in each run.

    Afterwards as before: validation images have many shapes, and each would be tried with every kernel.
    """
    cudnn, before = torch.backends.cudnn, torch.are_deterministic_algorithms_enabled()
    quick, same = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which torch insists on, for products of matrices
    torch.use_deterministic_algorithms(deterministic or before)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = quick, same
        torch.use_deterministic_algorithms(before)


def prepared(
    objective: Objective, settings: TrainingSettings, device: torch.device, ranks: int
) -> dict[str, Trainable]:
    """The networks that an objective trains, in training mode on the device; its fixed ones are brought there, too."""
    networks = {n: m.to(device).to(memory_format=torch.channels_last) for n, m in objective.networks.items()}
    for name, network in networks.items():
        tune_for(network, device)
        network.train()
        if ranks > 1 and settings.batch_norm != "per-process":
            synchronise(network)
        if objective.batch_norm(name, settings.batch_norm) == "fixed":
            network.fix_batch_norm()
    for network in objective.fixed.values():
        network.to(device).to(memory_format=torch.channels_last)
        tune_for(network, device)
        network.eval()
    return networks


def running_statistics(networks: Iterable[nn.Module]) -> Iterator[torch.Tensor]:
    """The running means and variances of the layers whose batch normalisation is trained."""
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training and layer.track_running_stats:
                yield from (getattr(layer, name) for name in ("running_mean", "running_var"))
