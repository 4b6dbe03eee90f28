"""``wsss predict``: a trained segmentation network on photos."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsss import __version__
from wsss.cli.colours import paint
from wsss.cli.flags import positive
from wsss.errors import WsssError
from wsss.interfaces.networks import Applied, adjusted, classes_of, network_in, recipe
from wsss.provenance.outputs import digest
from wsss.settings import PredictSettings
from wsss.store.artefact import Artefact
from wsss.system.cores import available_cores
from wsss.system.files import write_json
from wsss.system.log import add_verbosity, set_verbosity
from wsss.text import count, duration, nice, pairs, table, wrapped
from wsss.workflow.values import literal

ABOUT = """\
Apply a trained segmentation network to photos; no tags are needed. DIR gets masks/ID.png (8-bit palette:
0 background, c the c-th class), overlays/ID.jpg, legend.png, and coco.json: one annotation for each connected region
of a class, as compressed RLE with area and box. Started again after a stop, it keeps what is made."""
EXAMPLES = """\
examples:
  wsss predict results/photos/s0/segmenters/salient new-photos --out new-masks
  wsss predict results/photos beach.jpg --out new-masks
  wsss predict results/photos/s0/segmenters/salient new-photos --out fast --scales 1 --crf none"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss predict``."""
    parser.add_argument("network", type=Path, metavar="NETWORK", help="results/DATASET/sSEED/segmenters/NAME; or "
                        "results/DATASET, if it holds one network alone")  # fmt: skip
    parser.add_argument("photos", type=Path, nargs="+", metavar="PHOTOS", help="folder with photos, folders in it "
                        "included; or single photos, or a pattern in quotes: 'photos/*.jpg'")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--scales", type=float, nargs="+", metavar="X", help="sizes at which each photo is seen, 1: "
                         "its own (default: as the network's recipe has it)")  # fmt: skip
    parser.add_argument(
        "--crf", metavar="NAME", help="dense CRF: none, labels, labels-1, deeplab, psa (default: the recipe's)"
    )
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu or cuda")
    parser.add_argument("--threads", type=positive, metavar="N", help="cores it may use (default: all)")
    parser.add_argument("--force", action="store_true", help="make everything in DIR anew")
    parser.add_argument("--skip-unreadable", action="store_true", help="go on without photos that cannot be read")
    add_verbosity(parser)


if TYPE_CHECKING:
    from wsss.interfaces.predict import Photo

DEVICES = ("auto", "cpu", "cuda")


def predict(args: argparse.Namespace) -> int:
    """Write masks, overlays and ``coco.json``; 0 once all are whole.

    Raises:
        WsssError: What was named is no segmentation network, photos cannot be read, or the folder holds other masks.
    """
    set_verbosity(args)
    begun = time.monotonic()
    network = network_in(args.network)
    applied = recipe(network)
    applied = replace(applied, settings=changed(applied.settings, args))
    settings = applied.settings
    if args.device not in DEVICES:
        raise WsssError(f"--device {args.device}: one of {', '.join(DEVICES)}")
    threads = args.threads or available_cores()
    out = Path(args.out)
    photos, root = _photos(args.photos, out, threads, args.skip_unreadable)
    classes = classes_of(network)
    unread = {"shards", "splits"} if applied.tags_from else {"shards", "splits", "tag_threshold"}
    made_by: dict[str, Any] = {
        "weights": digest(network.folder / "model.safetensors"),
        "classes": list(classes),
        "settings": settings.model_dump(mode="json", exclude=unread),
    }
    if applied.tags_from is not None:
        made_by["classifier"] = digest(applied.tags_from / "model.safetensors")
    facts = {
        "network": f"{network.title} ({network.settings.get('architecture')} on {network.settings.get('backbone')})",
        "classes": ", ".join(classes),
        "settings": f"scales {literal(settings.scales)}, crf {literal(made_by['settings']['crf'])} ({applied.origin})",
        **({"classes in a photo": f"as {nice(applied.tags_from)} finds likely"} if applied.tags_from else {}),
        "photos": f"{len(photos)} in {_said(args.photos)}",
    }
    print("\n".join(pairs(facts)), file=sys.stderr, flush=True)
    return _work(args, network, photos, root, out, applied, classes, threads, made_by, begun)


def _work(
    args: argparse.Namespace, network: Artefact, photos: list[Photo], root: Path, out: Path, applied: Applied,
    classes: tuple[str, ...], threads: int, made_by: dict[str, Any], begun: float,
) -> int:  # fmt: skip
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported, as in a stage
    from wsss.interfaces.predict import ABOUT, finish, open_folder, write_masks
    from wsss.runtime.shard import locked
    from wsss.system.exit import Stoppable, orderly, signals

    run = Stoppable()
    with orderly("wsss predict", out):
        with locked(out), signals(run):
            open_folder(out, made_by, args.force)
            kept = write_masks(photos, network.folder, out, applied, args.device, threads, run)
            if kept:
                print(f"{kept} of {count(len(photos), 'mask')} are made already: kept", file=sys.stderr)
            info = {"description": "masks predicted by wsss", "version": __version__, "network": network.title}
            shown, pixels, regions = finish(photos, root, out, classes, threads, info)
            about = {"network": network.title, "photos": len(photos), "regions": regions, "wsss": __version__}
            write_json(out / ABOUT, {"made_by": made_by, **about})
    total = sum(photo.height * photo.width for photo in photos)
    rows = [[f"  {name}", str(shown[name]), f"{100 * pixels[name] / total:.1f} %"] for name in classes]
    print("\n".join(table(["  class", "photos", "pixels"], rows, right=(1, 2))))
    print(f"{count(len(photos), 'mask')} in {nice(out / 'masks')}, pictures in {nice(out / 'overlays')}, "
          f"{count(regions, 'region')} in {nice(out / 'coco.json')}; {duration(time.monotonic() - begun)}")  # fmt: skip
    return 0


def changed(settings: PredictSettings, args: argparse.Namespace) -> PredictSettings:
    """Settings with the flags that were given. Raises ``WsssError`` for values that are out of range."""
    return adjusted(settings, args.scales, args.crf, "--")


def _photos(named: list[Path], out: Path, threads: int, skip: bool) -> tuple[list[Photo], Path]:
    """The photos, opened, and the folder that they lie below; each that cannot be read is an error of its own, and all
    are listed."""
    from wsss.interfaces.photo_files import photo_files
    from wsss.interfaces.predict import open_photos

    files, root = photo_files(named, out)
    problems = [
        f"{nice(found[1])}: is also the id {id!r} of {found[0].name}, and a mask is named after the id; rename one"
        for id, found in files.items()
        if len(found) > 1
    ]
    sound, broken = open_photos({id: found[0] for id, found in files.items()}, threads)
    unread = [
        f"{nice(path)}: cannot be read ({reason}); copy it again, or take it away" for path, reason in broken.items()
    ]
    if problems or (unread and not skip):
        raise WsssError("\n".join(_listed(problems + unread, bool(unread))))
    for line in unread:
        print(paint(f"left out: {line.partition(';')[0]}", "yellow", stream=sys.stderr), file=sys.stderr)
    if not sound:
        raise WsssError(f"{_said(named)}: none of its {count(len(files), 'photo')} can be read")
    return sound, root


def _said(named: list[Path]) -> str:
    """What was named, in words."""
    return nice(named[0]) if len(named) == 1 else f"{nice(named[0])} and {len(named) - 1} more"


def _listed(problems: list[str], skippable: bool) -> Iterator[str]:
    yield f"{count(len(problems), 'problem')}; nothing was predicted"
    for one in problems:
        yield from wrapped(one, "  ", "    ")
    if skippable:
        yield "Fix them, or give --skip-unreadable to go on without the photos that cannot be read."
