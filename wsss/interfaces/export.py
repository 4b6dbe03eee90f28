"""Trained networks as files that run without this project: ONNX, and programs of torch.export.

A file takes images (B, 3, H, W) of any number and of any size whose sides are multiples of 32 (``Exported.smallest`` to
``LARGEST``): pad others at the right and at the bottom with the mean colour and cut what comes out, as the networks do
here. With a ``size`` it takes that size only.

A file is compared with the network on random pictures, of other sizes than the one that it was made with, before it
gets its name.
"""

from __future__ import annotations

import io
import json
import logging
import math
import operator
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.fx.node import Argument

from wsss.data.transforms import MEAN, STD
from wsss.errors import WsssError
from wsss.models.classifier import Classifier, load_classifier
from wsss.models.heatmaps import LAST
from wsss.models.segmenter import Heatmaps, Segmenter, load_segmenter
from wsss.store.manifest import read_manifest
from wsss.system.files import atomic_path

Format = Literal["onnx", "torch.export"]
Outputs = tuple[torch.Tensor, ...]
Size = tuple[int, int]
LOADERS: dict[str, Callable[[Path], tuple[nn.Module, tuple[str, ...]]]] = {
    "segmenter": load_segmenter,
    "classifier": load_classifier,
}
"""Stage that trains a network -> what reads it."""
MULTIPLE = 32
LARGEST = 4096
TOLERANCE = 1e-4
"""Largest difference that is taken for rounding, relative to the largest output of the network."""
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Exported(nn.Module):
    """A network as it is exported.

    A segmenter gives ``logits`` (B, C + 1, H, W), channel 0 the background; a classifier ``logits`` (B, C) and ``maps``
    (B, C, ceil(H / stride), ceil(W / stride)), its raw class activation maps.

    Args:
        network: Of these two kinds.
        normalise: The images are RGB in 0..1 and normalised here; otherwise they come normalised.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, normalise: bool) -> None:
        super().__init__()
        self.network = network.network if isinstance(network, Segmenter) else network
        self.outputs = ("logits", "maps") if isinstance(network, Classifier) else ("logits",)
        self.smallest = 2 * getattr(network, "smallest", MULTIPLE)
        self.normalise = normalise
        self.register_buffer("mean", torch.from_numpy(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.from_numpy(STD)[:, None, None], persistent=False)
        self.eval()

    def forward(self, images: torch.Tensor) -> Outputs:
        """The outputs named by ``outputs``, float32, of images (B, 3, H, W), float32."""
        if self.normalise:
            images = (images - self.mean) / self.std
        out = self.network(images)
        return (out,) if len(self.outputs) == 1 else (out.mean((2, 3)), out)


def export(folder: Path, to: Format, out: Path, normalise: bool = False, size: Size | None = None) -> str:
    """Write the network of an artefact folder as one file.

    Args:
        folder: A segmenter's or a classifier's artefact.
        to: ``onnx`` or ``torch.export`` (a ``.pt2`` program).
        out: The file; it appears when it was found to agree with the network.
        normalise: See ``Exported``.
        size: Height and width in pixels; None: any multiples of 32.

    Returns:
        What was written, in one sentence: what it takes and gives, and the largest difference to the network.

    Raises:
        WsssError: Another artefact, packages that are missing, a network that the exporter cannot follow, or a file
            that does not agree with the network.
    """
    stage = read_manifest(folder).get("stage")
    if stage not in LOADERS:
        raise WsssError(f"{folder}: only segmenters and classifiers can be exported, this is of the stage {stage!r}")
    if to == "onnx":
        _need_onnx()
    loaded, classes = LOADERS[stage](folder)
    if isinstance(loaded, Heatmaps) and loaded.guidance_layer != LAST:
        raise WsssError(
            f"{folder}: heatmaps at {loaded.guidance_layer!r} are gradients, which exported networks cannot take; "
            "export a segmentation network, or a classifier guided at the last stage"
        )
    network = Exported(loaded, normalise)
    if size is not None and (min(size) < network.smallest // 2 or any(side % MULTIPLE for side in size)):
        raise WsssError(
            f"--size {size[0]} {size[1]}: both sides must be multiples of {MULTIPLE} of at least "
            f"{network.smallest // 2}; pad the images to it"
        )
    facts: dict[str, Any] = {"classes": list(classes), "outputs": list(network.outputs), "input": _input(normalise)}
    if not normalise:
        facts |= {"mean": [round(float(v), 4) for v in MEAN], "std": [round(float(v), 4) for v in STD]}
    program = _program(network, folder, size)
    with atomic_path(out) as temporary:
        try:
            WRITERS[to](program, temporary, network, {key: json.dumps(value) for key, value in facts.items()})
            difference, largest = _compared(network, READERS[to](temporary), _pictures(network, size))
        except OSError:
            raise
        except Exception as error:  # exporters raise many kinds for what they do not know
            cure = "try the other format" + (", or one size with --size" if size is None else "")
            raise WsssError(f"{out}: this network cannot be written as {to} ({_first(error)}); {cure}") from error
        if not difference <= TOLERANCE * largest:
            raise WsssError(
                f"{out}: not written, for it differs from the network by {difference:.2g} in outputs of up to "
                f"{largest:.2g}; try the other format"
            )
    taken = "any size in multiples of 32" if size is None else f"{size[0]} x {size[1]} pixels"
    return (
        f"{out}: {stage} of {taken}, {_input(normalise)} -> {', '.join(network.outputs)}; "
        f"largest difference to the network {difference:.2g} in outputs of up to {largest:.3g}"
    )


def _input(normalise: bool) -> str:
    return "RGB in 0..1" if normalise else "RGB in 0..1, less mean, divided by std"


def _need_onnx() -> None:
    for package in ONNX_PACKAGES:
        try:
            import_module(package)
        except ImportError as error:
            raise WsssError(f"--to onnx needs the package {package}: install wsss[onnx] ({error})") from error


def _program(network: Exported, folder: Path, size: Size | None) -> torch.export.ExportedProgram:
    """The network as a graph, traced with two pictures."""
    height, width = size or (network.smallest + 3 * MULTIPLE, network.smallest + 5 * MULTIPLE)
    shape: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if size is None:
        sides = {"min": network.smallest // MULTIPLE, "max": LARGEST // MULTIPLE}
        shape |= {2: MULTIPLE * torch.export.Dim("rows", **sides), 3: MULTIPLE * torch.export.Dim("columns", **sides)}
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(
                network, (torch.zeros(2, 3, height, width),), dynamic_shapes={"images": shape}, strict=False
            )
    except Exception as error:  # torch raises many kinds for what it cannot follow
        cure = "give one size with --size" if size is None else "no file can be made of this backbone"
        raise WsssError(f"{folder}: torch.export cannot follow this network ({_first(error)}); {cure}") from error
    _without_ceil(program.graph)
    program.graph_module.recompile()
    return program


def _without_ceil(graph: torch.fx.Graph) -> None:
    """Put -(-a // b) in the place of ceil(a / b), by which timm works out sizes and which torch.export cannot save."""
    for node in list(graph.nodes):
        ratio = node.args[0] if node.target is math.ceil else None
        if isinstance(ratio, torch.fx.Node) and ratio.target is operator.truediv:
            above, below = ratio.args
            with graph.inserting_before(node):
                less = _called(graph, operator.neg, above)
                whole = _called(graph, operator.neg, _called(graph, operator.floordiv, less, below))
            node.replace_all_uses_with(whole)
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _called(graph: torch.fx.Graph, function: Callable[..., Any], *args: Argument) -> torch.fx.Node:
    """A node that calls ``function``, with what it gives for the pictures that the graph was traced with."""
    node = graph.call_function(function, args)
    node.meta["val"] = function(*(a.meta["val"] if isinstance(a, torch.fx.Node) else a for a in args))
    return node


def _first(error: Exception) -> str:
    """The first line of an error of torch's, which may have hundreds."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _pictures(network: Exported, size: Size | None) -> Iterator[torch.Tensor]:
    """Random pictures to compare on: one, and three at once, of different sizes where any are taken."""
    random = torch.Generator().manual_seed(0)
    small, large = (network.smallest, network.smallest + 32), (network.smallest + 160, network.smallest + 64)
    for count, (height, width) in ((1, size or small), (3, size or large)):
        images = torch.rand(count, 3, height, width, generator=random)
        yield images if network.normalise else (images - network.mean) / network.std


@torch.no_grad()
def _compared(
    network: Exported, read: Callable[[torch.Tensor], Outputs], pictures: Iterator[torch.Tensor]
) -> tuple[float, float]:
    """Largest difference between what the file and the network give, and the network's largest output. NaN where
    either gives one."""
    differences, largest = [], []
    for images in pictures:
        for ours, theirs in zip(network(images), read(images), strict=True):
            if ours.shape != theirs.shape:
                return float("inf"), float(ours.abs().max())
            differences.append((ours - theirs).abs().max())
            largest.append(ours.abs().max())
    return float(torch.stack(differences).max()), float(torch.stack(largest).max())


def _write_onnx(program: Any, path: Path, network: Exported, facts: dict[str, str]) -> None:
    with _quiet():
        made = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=list(network.outputs), verbose=False
        )
        if made is None:
            raise TypeError("torch.onnx.export gave no program")
        made.model.metadata_props.update(facts)
        made.save(str(path), external_data=False)


def _read_onnx(path: Path) -> Callable[[torch.Tensor], Outputs]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda images: tuple(map(torch.from_numpy, session.run(None, {"images": images.numpy()})))


def _write_program(program: Any, path: Path, network: Exported, facts: dict[str, str]) -> None:
    with path.open("wb") as file, _quiet():
        torch.export.save(program, file, extra_files=facts)


def _read_program(path: Path) -> Callable[[torch.Tensor], Outputs]:
    with _quiet():
        module = torch.export.load(io.BytesIO(path.read_bytes())).module()
    return lambda images: module(images)


WRITERS = {"onnx": _write_onnx, "torch.export": _write_program}
READERS = {"onnx": _read_onnx, "torch.export": _read_program}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of torch's exporters, which are about torch's own code."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
