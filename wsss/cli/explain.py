"""``wsss explain``: where in a photo a trained network sees a class."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from wsss.cli.flags import positive
from wsss.errors import WsssError
from wsss.settings.check import check
from wsss.settings.explaining import REGIONS, USUAL_OF_REGIONS, ExplanationSettings
from wsss.store.manifest import read_manifest
from wsss.system.cores import available_cores
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
  wsss explain results/photos/s0/segmenters/salient photo.jpg
  wsss explain results/photos/s0/segmenters/salient photo.jpg --at 120 85
  wsss explain results/photos/s0/segmenters/salient photo.jpg --region largest --classes cat"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss explain``."""
    parser.add_argument("network", type=Path, metavar="NETWORK", help="folder of a classifier or a segmenter")
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="pictures to explain")
    parser.add_argument("--explainer", metavar="NAME", help="cam, grad-cam, minmax-cam, score-cam, occlusion, ...; "
                         "seg-grad-cam, seg-ablation-cam, ... (default: cam, seg-hires-grad-cam)")  # fmt: skip
    parser.add_argument("--option", action="append", metavar="NAME=VALUE", help="an option of the explainer")
    parser.add_argument("--classes", nargs="+", metavar="CLASS", help="explain these classes, whatever is predicted")
    parser.add_argument("--region", metavar="NAME", choices=get_args(REGIONS), help="of a segmentation network, the "
                        "pixels whose scores are explained: predicted (default), confident, largest, smallest (part "
                        "of the prediction), pixel, box, image, given (by --mask)")  # fmt: skip
    parser.add_argument("--at", type=int, nargs="+", metavar="N", help="a pixel of the photo (Y X), or a box (TOP LEFT "
                        "BOTTOM RIGHT): --region pixel, box")  # fmt: skip
    parser.add_argument("--mask", type=Path, metavar="PNG", help="mask of class numbers for --region given")
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

USUAL = {"classifier": "cam", "segmenter": USUAL_OF_REGIONS}
"""Stage that trained the network -> the explainer that is taken if none is named."""


def explain(args: argparse.Namespace) -> int:
    """Write an overlay PNG for each photo, and print the scores of the classes.

    Raises:
        WsssError: The folder is no trained classifier or segmentation network, a photo cannot be read, there is no such
            explainer, option, class or region, or the explainer cannot be used on this network.
    """
    set_verbosity(args)
    stage = read_manifest(args.network).get("stage")
    if stage not in USUAL:
        raise WsssError(
            f"{args.network}: was made by the stage {stage}; give the folder of a classifier "
            "(results/DATASET/sSEED/classifiers/NAME) or of a segmentation network (.../segmenters/NAME)"
        )
    name = args.explainer or USUAL[stage]
    explainer = _explainer(name, args.option, stage)
    _check_region(args, stage)
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


def _check_region(args: argparse.Namespace, stage: str) -> None:
    """Fill in the region that ``--at`` and ``--mask`` mean. Raises ``WsssError`` where the flags do not go together."""
    if stage != "segmenter":
        if args.region or args.at or args.mask:
            raise WsssError("--region, --at and --mask are for segmentation networks, and this is a classifier")
        return
    meant = {2: "pixel", 4: "box"}.get(len(args.at or ()), "given" if args.mask else "predicted")
    args.region = args.region or meant
    numbers = {"pixel": 2, "box": 4}.get(args.region, 0)
    if len(args.at or ()) != numbers:
        raise WsssError(f"--region {args.region} needs {numbers or 'no'} numbers after --at; a pixel has 2, a box 4")
    if (args.region == "given") != (args.mask is not None):
        raise WsssError("--region given and --mask go together")
    if args.mask is not None and len(args.photos) > 1:
        raise WsssError(f"--mask {args.mask}: there are {len(args.photos)} photos; explain them one after the other")


def _explainer(name: str, given: list[str] | None, stage: str) -> Any:
    """The explainer of a name with options ``KEY=VALUE``, values in YAML, for a network of this stage."""
    import yaml

    options = {}
    for text in given or ():
        key, sign, value = text.partition("=")
        if not sign:
            raise WsssError(f"--option {text}: give it as NAME=VALUE, like top_channels=64")
        options[key] = yaml.safe_load(value)
    recipe = {stage: "this", "explainer": name, "explainer_options": options}
    _, problems = check(ExplanationSettings, recipe)
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
        prepare_cpu(args.threads or available_cores())
        network.to(choose_device(args.device)).eval()
        self.subject: Subject = subject_of(network, args.layer)
        self.only = [self._class(name) for name in args.classes or ()]

    @property
    def nothing(self) -> str:
        """Why there may be no map."""
        few = "no class has a probability above 0.5" if not self.pixels else "only background is predicted there"
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
        target = self._target((height, width), (view.shape[2], view.shape[3]))
        made = explainer(self.subject, view, target, ids=[path.name], seed=self.args.seed)
        output = made.output.float()
        if not self.pixels:
            return output.sigmoid()[0].cpu(), made
        labels = output.argmax(1).flatten()
        return torch.bincount(labels, minlength=output.shape[1]).float()[1:].cpu() / len(labels), made

    def _target(self, photo: tuple[int, int], view: tuple[int, int]) -> Target:
        """What is asked of a photo of (height, width) pixels, which the network sees at the size ``view``."""
        from wsss.explain import Classes, Regions

        if self.pixels:
            import torch

            from wsss.data.images import read_mask

            inside = self.args.region in ("pixel", "box", "given")
            usual: Literal["inside", "predicted"] = "inside" if inside else "predicted"
            mask = None if self.args.mask is None else torch.from_numpy(read_mask(self.args.mask)).long()[None]
            return Regions(
                [c + 1 for c in self.only] if self.only else usual,
                self.args.region,
                mask,
                None if self.args.at is None else seen_at(self.args.at, photo, view),
            )
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


def seen_at(at: Sequence[int], photo: tuple[int, int], view: tuple[int, int]) -> tuple[int, ...]:
    """A pixel (y, x) or a box (top, left, bottom, right) of a photo, in pixels of the photo as the network sees it.

    Raises:
        WsssError: It is not within the photo, or the box is empty.
    """
    sizes = (*photo, *photo)
    end = at[2:] or [v + 1 for v in at]
    if any(not 0 <= low < high <= size for low, high, size in zip(at[:2], end, photo, strict=True)):
        raise WsssError(f"--at {' '.join(map(str, at))}: the photo has {photo[0]} rows and {photo[1]} columns")
    first = [v * new // old for v, new, old in zip(at[:2], view, sizes, strict=False)]
    last = [-(-v * new // old) for v, new, old in zip(at[2:], view, sizes, strict=False)]
    return (*first, *last)


def _draw(picture: Any, made: Explanation, explainer: Any, titles: list[str], out: Path) -> None:
    from wsss.explain.metrics.measuring import one_channel
    from wsss.report.overlays import side_by_side

    maps, _ = one_channel(explainer, made.maps)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary:
        side_by_side(picture, dict(zip(titles, maps.cpu().numpy(), strict=True)), temporary)
