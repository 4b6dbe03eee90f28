"""Networks and trainings: what classifiers and segmentation networks have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import (
    Augment,
    Count,
    Fraction,
    Log,
    Neutral,
    NonNegative,
    Positive,
    Precision,
    Settings,
    as_number,
)


class NetworkSettings(Settings):
    """Which backbone, and where its weights come from."""

    backbone: str = "resnet50"
    """Name of a timm model."""
    output_stride: Literal[8, 16, 32] = 16
    """Input pixels per feature cell."""
    pretrained: bool | str = True
    """``true``: timm's own weights (needs the network or a filled cache); ``packaged``: those of a package that pip
    installs (``tf_efficientnet_lite0`` is in the default environment); a path: a safetensors or pth file; ``false``:
    random. Any of them is changed on loading to take images normalised with ImageNet's statistics."""


class TrainingSettings(NetworkSettings):
    """What every training has: images, optimiser, schedule, precision."""

    crop: Annotated[int, Field(ge=32, le=2048)] = 512
    """Side S of the training crop in pixels."""
    long_side: tuple[Count, Count] = (320, 640)
    """The longer side of an image is resized to a random integer in this range, in pixels."""
    resize: Literal["long-side", "square"] = "long-side"
    """``square``: the image is resized to a square of that side, whatever its aspect."""
    epochs: Count = 15
    """Passes over the training images."""
    batch_size: Count = 16
    """Images in a micro-batch, over all devices together."""
    accumulate: Count = 1
    """Micro-batches an optimiser step."""
    accumulate_mode: Literal["sum", "mean"] = "sum"
    """``sum``: gradients of the micro-batches add up (published for classifiers); ``mean``: they are averaged."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Both have four groups: pretrained weights, pretrained biases, new weights, new biases."""
    lr: Positive = 0.1
    """Learning rate of pretrained weights."""
    momentum: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.0
    """Momentum of SGD; Nesterov's form where it is above 0. The published recipes train with none."""
    weight_decay: NonNegative = 1e-4
    """Weight decay of weights; biases and normalisation offsets have none."""
    head_lr_mult: Positive = 10.0
    """Rate of the head, and of other layers that no pretrained weights fill, relative to the rest; so too where
    ``warm_start`` brings the head along."""
    bias_factor: Positive = 2.0
    """Rate of biases relative to weights."""
    lr_schedule: Annotated[Literal["poly", "cosine"], Neutral("poly")] = "poly"
    """How the rate falls after the warm-up. ``poly``: polynomial decay, published for these methods; ``cosine``: half a
    cosine (Loshchilov and Hutter 2017, without restarts), rate(t) = rate(0) (1 + cos(pi t/T)) / 2."""
    poly_power: NonNegative = 0.9
    """Exponent of the polynomial decay: rate(t) = rate(0) (1 - t/T)^poly_power. Without effect for ``cosine``."""
    warmup: Fraction = 0.0
    """Share of the optimiser steps over which the rate rises linearly from 0."""
    clip_norm: Positive | None = None
    """Largest gradient norm; null: no clipping."""
    label_smoothing: Annotated[float, BeforeValidator(as_number), Field(ge=0, lt=1)] = 0.1
    """a in y' = (1 - a) y + a/2 (classifiers), or of the cross entropy (segmenters)."""
    augment: Augment = ()
    """Besides resize, flip and crop: ``colour-jitter``, ``randaugment``, ``strong-jitter``, ``grey``, ``blur``,
    ``cutout``, or a list of several."""
    batch_norm: Literal["normal", "per-process", "fixed"] = "normal"
    """``normal``: statistics of the micro-batch, of all processes together; ``per-process``: of each process's own part
    of it, which is faster, but then the result depends on their number; ``fixed``: running statistics are used and not
    updated, scale and offset are not trained."""
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes that the workflow starts to share each micro-batch, on a GPU each. But for rounding, dropout and
    ``batch_norm: per-process`` the result does not depend on it, and a change re-runs nothing."""
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Nodes of a cluster with SLURM that the processes are spread over, as many on each; on one machine all run there.
    A change re-runs nothing."""
    stage_to: str | None = None
    """Directory on a disk of the machine that trains, for copies of the images, which are then read from the disk that
    all nodes share only once: ``$TMPDIR``, or a path. Where the variable is not set, where the disk is full, images are
    read where they lie. A change re-runs nothing."""
    precision: Precision = "auto"
    """Autocast type. ``auto``: bf16 where the device computes it natively, else fp16 on a GPU and fp32 on a CPU."""
    deterministic: Annotated[bool, Neutral(False)] = False
    """On a GPU, train with kernels alone whose result is the same in each run (``torch.use_deterministic_algorithms``):
    slower, and the same bits again on a GPU of the same model with the same libraries. On a CPU trainings are so
    anyway. See docs/gpu.md."""
    compile: bool = False
    """Compile the networks (torch.compile): minutes at the start and at each resume, faster steps on large GPUs. Losses
    differ by rounding."""
    log: Log | None = None
    """Where the training curves go besides metrics.jsonl. ``tensorboard``: event files in the folder ``tensorboard``
    beside the weights; ``mlflow``: a file store, the folder ``mlruns`` of the working directory; null: nowhere. A
    change re-runs nothing. Needs the package of that name: ``pip install '.[tensorboard]'``, ``'.[mlflow]'``."""
    ema: Annotated[float, BeforeValidator(as_number), Field(gt=0, lt=1)] | None = None
    """Decay d of a moving average of the weights, w' = d w' + (1 - d) w after every optimiser step, that is kept in
    place of the last weights; in step t (from 0) d is at most (1 + t) / (10 + t). null: none."""
    average_last: Count | None = None
    """Keep the mean of the weights at the ends of the last k epochs in place of the last weights; null: do not."""

    @model_validator(mode="after")
    def _ordered(self) -> TrainingSettings:
        low, high = self.long_side
        if low > high:
            raise ValueError(f"long_side: the first value ({low}) must not exceed the second ({high})")
        if self.crop % self.output_stride:
            raise ValueError(f"crop ({self.crop}) must be a multiple of output_stride ({self.output_stride})")
        if self.ema is not None and self.average_last is not None:
            raise ValueError("ema and average_last are two ways to average weights; set one of them")
        if self.batch_size % self.processes:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of processes ({self.processes})")
        if self.processes % self.nodes:
            raise ValueError(f"processes ({self.processes}) must be a multiple of nodes ({self.nodes})")
        if self.stage_to is not None and self.stage_to[:1] not in ("/", "~", "$"):
            raise ValueError(f"stage_to ({self.stage_to}) must be a full path, or begin with a variable like $TMPDIR")
        if (self.average_last or 1) > self.epochs:
            raise ValueError(f"average_last ({self.average_last}) must not exceed epochs ({self.epochs})")
        return self


class Ramp(Settings):
    """A loss weight that moves linearly and then stays: w(t) = start + (end - start) min(1, t / (ramp_fraction T))."""

    start: NonNegative
    """Weight at the first step."""
    end: NonNegative
    """Weight from ``ramp_fraction`` of the training on."""
    ramp_fraction: Fraction = 1.0
    """Share of the training over which the weight moves; 0: constant at ``end``."""
