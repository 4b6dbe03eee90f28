"""``wsss explain``: where in a photo a trained network sees a class."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss.cli.flags import positive
from wsss.errors import WsssError
from wsss.settings.check import check
from wsss.settings.explaining import ExplainedSettings
from wsss.store.manifest import read_manifest
from wsss.system.files import atomic_path
from wsss.system.log import add_verbosity, set_verbosity
from wsss.text import listed, nearest, table

ABOUT = """\
Show where in a photo a trained network sees a class: for each class that a classifier predicts (p > 0.5), or that a
segmentation network's mask has, a map laid over the photo. Writes a PNG for each photo, and prints the scores."""
EXAMPLES = """\
examples:
  wsss explain results/photos/s0/classifiers/p-noc photo.jpg
  wsss explain results/photos/s0/classifiers/p-noc photo.jpg --explainer minmax-cam --classes cat dog
  wsss explain results/photos/s0/segmenters/agree photo.jpg --explainer seg-hires-grad-cam"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss explain``."""
    parser.add_argument("network", type=Path, metavar="NETWORK", help="folder of a classifier or a segmenter")
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="pictures to explain")
    parser.add_argument("--explainer", metavar="NAME", help="cam, grad-cam, minmax-cam, score-cam, occlusion, ...; "
                         "seg-grad-cam, seg-ablation-cam, ... (default: cam, seg-grad-cam)")  # fmt: skip
    parser.add_argument("--option", action="append", metavar="NAME=VALUE", help="an option of the explainer")
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="explain these classes, whatever is predicted")
    parser.add_argument("--layer", metavar="NAME", help="layer to look at (default: the last features)")
    parser.add_argument("--out", type=Path, metavar="PNG|DIR", help="(default: PHOTO-EXPLAINER.png here)")
    parser.add_argument("--max-side", type=positive, default=1024, metavar="N", help="larger photos are reduced (1024)")
    parser.add_argument("--seed", type=int, default=0, help="seed of explainers with noise (0)")
    parser.add_argument("--threads", type=positive, metavar="N", help="cores it may use (default: all)")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu or cuda")
    add_verbosity(parser)


if TYPE_CHECKING:
    import torch

    from wsss.explain import Explanation, Subject, Target

USUAL = {"classifier": "cam", "segmenter": "seg-grad-cam"}
"""Stage that trained the network -> the explainer that is taken if none is named."""


def explain(args: argparse.Namespace) -> int:
    """Write an overlay PNG for each photo, and print the scores of the classes.

    Raises:
        WsssError: The folder is no trained classifier or segmentation network, a photo cannot be read, there is no such
            explainer, option or class, or the explainer cannot be used on this network.
    """
    set_verbosity(args)
    stage = read_manifest(args.network).get("stage")
    if stage not in USUAL:
        raise WsssError(
            f"{args.network}: was made by the stage {stage}; give the folder of a classifier "
            "(results/DATASET/sSEED/classifiers/NAME) or of a segmentation network (.../segmenters/NAME)"
        )
    name = args.explainer or USUAL[stage]
    explainer = _explainer(name, args.option)
    photos = {path: _output(path, name, args) for path in args.photos}
    if len(set(photos.values())) < len(photos):
        raise WsssError("two photos have the same name; explain them one after the other, with different --out")

    from wsss.data.images import read_image  # torch comes with what follows

    pictures = {path: read_image(path) for path in photos}
    network = _Network(stage, args)
    for path, out in photos.items():
        scores, made = network.explained(explainer, pictures[path], path)
        lines, titles = network.told(scores, made)
        print(f"{path}  ({name})")
        print("\n".join(table(("class", "score", "explained"), lines, right={1})))
        if not titles:
            print(f"nothing to explain: {network.nothing}")
            continue
        _draw(pictures[path], made, explainer, titles, out)
        print(f"-> {out}")
    return 0


def _explainer(name: str, given: list[str] | None) -> Any:
    """The explainer of a name with options ``KEY=VALUE``, values in YAML."""
    import yaml

    options = {}
    for text in given or ():
        key, sign, value = text.partition("=")
        if not sign:
            raise WsssError(f"--option {text}: give it as NAME=VALUE, like top_channels=64")
        options[key] = yaml.safe_load(value)
    if not name.startswith("seg-"):
        _, problems = check(ExplainedSettings, {"explainer": name, "explainer_options": options})
        if problems:
            raise WsssError("; ".join(text for _, text in problems))

    from wsss.explain.seeds import built

    return built(name, options)


def _output(photo: Path, explainer: str, args: argparse.Namespace) -> Path:
    """Where the overlay of a photo goes: ``--out`` if it is a file, else ``PHOTO-EXPLAINER.png`` there or here."""
    out: Path | None = args.out
    if out is not None and out.suffix.lower() == ".png":
        if len(args.photos) > 1:
            raise WsssError(f"--out {out}: there are {len(args.photos)} photos; name a folder")
        return out
    folder = out or Path()
    return folder / f"{photo.stem}-{explainer.replace(':', '-')}.png"


class _Network:
    """A trained network, and what is asked of it."""

    def __init__(self, stage: str, args: argparse.Namespace) -> None:
        from wsss.compute.devices import choose_device, prepare_cpu
        from wsss.explain import subject_of
        from wsss.models.classifier import load_classifier
        from wsss.models.segmenter import load_segmenter

        self.pixels, self.args = stage == "segmenter", args
        network, self.classes = (load_segmenter if self.pixels else load_classifier)(args.network)
        prepare_cpu(args.threads or os.cpu_count() or 1)
        network.to(choose_device(args.device)).eval()
        self.subject: Subject = subject_of(network, args.layer)
        self.only = [self._class(name) for name in args.classes or ()]

    @property
    def nothing(self) -> str:
        """Why there may be no map."""
        few = "no class has a probability above 0.5" if not self.pixels else "all pixels are predicted as background"
        return f"{few}; name the classes to explain with --classes ({listed(self.classes)})"

    def _class(self, name: str) -> int:
        if name not in self.classes:
            near = nearest(name, self.classes)
            raise WsssError(f"--classes {name}: the network knows no such class{near} ({listed(self.classes)})")
        return self.classes.index(name)

    def explained(self, explainer: Any, picture: Any, path: Path) -> tuple[torch.Tensor, Explanation]:
        """Scores (C,) of the classes (probabilities, or shares of the pixels), and their maps."""
        import torch

        from wsss.data.index import Item
        from wsss.data.loading import resized, scaled_size
        from wsss.data.transforms import normalise

        height, width = picture.shape[:2]
        item = Item(str(path), "val", path, None, height, width, (), False)
        size = scaled_size(item, 1.0, self.args.max_side)
        view = torch.from_numpy(normalise(resized(torch.from_numpy(picture), size).numpy()))[None]
        made = explainer(self.subject, view, self._target(), ids=[path.name], seed=self.args.seed)
        output = made.output.float()
        if not self.pixels:
            return output.sigmoid()[0].cpu(), made
        labels = output.argmax(1).flatten()
        return torch.bincount(labels, minlength=output.shape[1]).float()[1:].cpu() / len(labels), made

    def _target(self) -> Target:
        from wsss.explain import Classes, Regions

        if self.pixels:
            return Regions([c + 1 for c in self.only] if self.only else "predicted")
        if not self.only:
            return Classes("pred")
        import torch

        labels = torch.zeros(1, len(self.classes))
        labels[0, self.only] = 1
        return Classes("gt", labels)

    def told(self, scores: torch.Tensor, made: Explanation) -> tuple[list[tuple[str, str, str]], list[str]]:
        """Lines of the table, highest score first, and the titles of the maps."""
        asked = [int(c) - self.pixels for c in made.class_idx.tolist()]
        order = sorted(range(len(self.classes)), key=lambda c: -float(scores[c]))
        lines = [(self.classes[c], f"{100 * float(scores[c]):.1f} %", "yes" if c in asked else "") for c in order]
        return lines, [f"{self.classes[c]} {100 * float(scores[c]):.0f} %" for c in asked]


def _draw(picture: Any, made: Explanation, explainer: Any, titles: list[str], out: Path) -> None:
    from wsss.explain.metrics.measuring import one_channel
    from wsss.report.overlays import side_by_side

    maps, _ = one_channel(explainer, made.maps)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary:
        side_by_side(picture, dict(zip(titles, maps.cpu().numpy(), strict=True)), temporary)
