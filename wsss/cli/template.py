"""The text of a ``config.yaml`` with comments, from what was found and chosen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from wsss.cli.recommend import Choices, within
from wsss.cli.scan import Survey
from wsss.system.packaged_weights import PACKAGED
from wsss.text import count, nice

PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off)$)[a-z_][\w./-]*|\.{0,2}/[\w./-]+", re.I | re.A)
"""What YAML takes for a text without quotes."""
REMARK = re.compile(r"(.*\S) {5,}# (.*)")
"""Settings, and a comment beside them."""
COLUMN = 38
THRESHOLD = 0.4
"""Of pseudo-labels where no ground-truth mask can tell: on photos and on generated scenes maps of P-NOC and of a walk
lose at most 3 points there against their best; at 0.3, which is usual, a walk's lose 8 on photos."""


def scalar(value: object) -> str:
    """A path, a number, a truth value or a list as one would type it in YAML."""
    if isinstance(value, Path):
        value = nice(value)
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(scalar, value))}]"
    return str(value)


def last(chosen: Choices) -> str:
    """Name of the masks and of the segmentation network at the end of the chain."""
    if chosen.trained:
        return "mixed" if chosen.quick else "salient"
    return "vanilla" if chosen.quick else "p-noc"


def config_text(name: str, found: Survey, chosen: Choices, broken: str, command: str) -> str:
    """The file's whole text; ``name``: of the dataset, ``command``: that wrote it."""
    blocks = [
        _head(name, found, chosen, command),
        _dataset(name, found, chosen, broken),
        _chain(chosen),
        _defaults(found, chosen),
    ]
    return "\n".join(aligned(line) for block in blocks for line in (*block, ""))


def aligned(line: str) -> str:
    """The comment of a line, if it has one beside settings, in one column with the others."""
    found = REMARK.fullmatch(line)
    return f"{found[1].ljust(COLUMN)} # {found[2]}" if found else line


def _head(name: str, found: Survey, chosen: Choices, command: str) -> Iterator[str]:
    kind = "a first try, small and short" if chosen.quick else "fitted to these photos and this machine"
    yield f"# Written by `{command}`: {kind}. It is yours to change."
    yield "# Next: wsss check (is all in order?), wsss run (makes what is missing). Every key: config/README.md, or"
    yield "# python stages/classifier.py --help and its like. Paths start where you call wsss run."
    yield ""
    yield f"dataset: {scalar(name)}"
    yield "seeds: [0]             # [0, 1, 2] runs everything three times; the tables then show mean and spread"


def _dataset(name: str, found: Survey, chosen: Choices, broken: str) -> Iterator[str]:
    yield "datasets:"
    yield f"  {scalar(name)}:"
    yield "    kind: folder"
    yield f"    images: {scalar(found.photos)}     # {count(len(found.files), 'photo')}"
    yield f"    labels: {scalar(found.table)}     # {', '.join(found.classes[:8])}{', ...' * (len(found.classes) > 8)}"
    if found.separator != ";":
        yield f"    separator: {json.dumps(found.separator)}"
    if found.names or found.masks:
        classes = found.names or found.classes
        yield f"    classes: {scalar(classes)}     # mask value 1 is the first name, and so on"
    if found.masks:
        yield f"    masks: {scalar(found.masks)}     # of {count(len(found.masked), 'photo')}{_readers(chosen)}"
    if found.lists:
        yield f"    train: {scalar(found.lists[0])}"
        yield f"    val: {scalar(found.lists[1])}"
    else:
        yield f"    val_share: {chosen.val_share}     # share of the photos that is held out, always the same ones"
        if chosen.split_seed:
            yield f"    split_seed: {chosen.split_seed}     # a draw that leaves every class in both parts, if one does"
    other = "leaves broken photos out" if broken == "drop" else "drop: leave broken photos out instead of stopping"
    yield f"    broken: {broken}     # {other}"


def _readers(chosen: Choices) -> str:
    """Who reads the ground-truth masks."""
    if chosen.calibration:
        return f"; scores read them, and {chosen.calibration} choose the threshold of pseudo-labels"
    return "; only scores read them"


def _chain(chosen: Choices) -> Iterator[str]:
    seeds = _seeds(chosen)
    yield "# A name on the left is yours to choose; recipes refer to each other by it."
    yield from _classifiers(chosen)
    yield ""
    yield "cams:                    # maps of where each tag is seen"
    yield from _cams(chosen)
    if last(chosen) == "salient":
        yield ""
        yield "saliency:                # what is an object of any class"
        yield f"  c2am-h: {{objective: c2am-h, hints: {seeds}, hint_threshold: otsu}}"
    yield ""
    yield "masks:                   # pseudo-labels: maps, a threshold, a dense CRF"
    yield f"  {seeds}: {{cams: {seeds}, crf: labels}}"
    if last(chosen) == "salient":
        yield "  salient:               # saliency says where objects are, the maps which class they have"
        yield f"    cams: {seeds}"
        yield "    saliency: c2am-h"
        yield "    saliency_threshold: agreement     # with the maps, on most pixels; looks at no mask"
        yield "    crf: labels"
    yield ""
    yield "segmenters:              # learns from the pseudo-labels, and needs no tags any more"
    if chosen.trained:
        tags = "     # 'linear' says which classes a photo may hold"
        yield f"  {last(chosen)}: {{masks: {last(chosen)}, tags_from: linear}}{tags}"
    else:
        yield f"  {last(chosen)}: {{masks: {last(chosen)}}}"
    if chosen.calibration:
        yield "  # supervised: {supervision: masks}     # the upper bound: learns from the ground-truth masks"


def _seeds(chosen: Choices) -> str:
    """Name of the CAMs that everything later rests on."""
    if chosen.trained:
        return "mixed"
    return "vanilla" if chosen.quick else "p-noc"


def _classifiers(chosen: Choices) -> Iterator[str]:
    yield "classifiers:"
    if chosen.trained:
        recipe = f"{{objective: linear, features: centred, size: {chosen.side}}}"
        yield f"  linear: {recipe}     # one layer on the frozen backbone: seconds"
        if chosen.quick or not chosen.few:
            return
    else:
        yield f"  vanilla: {{objective: vanilla, epochs: {chosen.epochs}}}"
        if not chosen.quick:
            recipe = f"{{objective: p-noc, ordinary: vanilla, epochs: {chosen.epochs}}}"
            yield f"  p-noc: {recipe}     # 'vanilla' judges what it erases"
        return
    yield "  vanilla:               # the whole backbone, trained on from the linear layer: gently, for photos are few"
    yield "    objective: vanilla"
    yield "    warm_start: linear"
    yield "    features: centred      # as it has them: divided by their norm, less the mean of all photos"
    yield f"    epochs: {within(chosen.epochs // 4, 2, 10)}"
    yield "    lr: 0.01"
    yield "    batch_norm: fixed      # its statistics are ImageNet's; a few photos would spoil them"


def _cams(chosen: Choices) -> Iterator[str]:
    of = "linear" if chosen.trained and (chosen.quick or not chosen.few) else "vanilla"
    yield f"  {of}: {{classifier: {of}}}"
    if _seeds(chosen) == "p-noc":
        yield "  p-noc: {classifier: p-noc}"
    if _seeds(chosen) == "mixed":
        yield f"  features: {{source: feature-walk, cams: {of}}}     # spread over cells that the backbone sees alike"
        yield f"  mixed: {{source: ensemble, members: [{of}, features], rule: geometric}}     # where both are sure"


def _defaults(found: Survey, chosen: Choices) -> Iterator[str]:
    low, high = chosen.long_side
    yield "defaults:                # what all recipes of a kind have, unless they say otherwise"
    yield "  classifiers: &training"
    yield f"    backbone: {chosen.weights.backbone}"
    yield f"    pretrained: {scalar(chosen.weights.pretrained)}     # {_origin(chosen)}"
    if not chosen.trained:
        yield "    output_stride: 8"
    yield f"    crop: {chosen.crop}            # pixels"
    yield f"    long_side: [{low}, {high}]     # the longer side of a photo is resized to a random length in this range"
    yield f"    batch_size: {chosen.batch}"
    if chosen.trained:
        yield "    lr: 0.05"
    else:
        yield "    optimizer: adamw"
        yield "    lr: 1.0e-3"
        yield "    head_lr_mult: 1        # nothing is pretrained, so new layers learn no faster than the others"
        yield "    bias_factor: 1"
        yield "    augment: []"
    if chosen.small:
        yield f"  # Small photos gain from scales above 1.5: {_gain(chosen)}"
    yield "  cams:"
    yield f"    scales: {scalar(chosen.scales)}"
    yield f"    max_side: {chosen.side}        # larger photos are reduced to it"
    if _seeds(chosen) == "mixed":
        yield f"    backbone: {chosen.weights.backbone}     # whose features the maps spread over"
        yield f"    pretrained: {scalar(chosen.weights.pretrained)}"
    if last(chosen) == "salient":
        batch, epochs = chosen.saliency
        square = max(chosen.crop, round(0.8 * chosen.side / 32) * 32)
        yield "  saliency:"
        yield "    <<: *training"
        yield "    lr: 1.0e-3"
        yield f"    long_side: [{square}, {square}]"
        yield f"    batch_size: {batch}"
        yield f"    epochs: {epochs}"
        yield f"    maps: {{scales: {scalar(chosen.saliency_scales)}, max_side: {chosen.side}}}"
    yield "  masks:"
    if chosen.calibration:
        said = f"best on {chosen.calibration} of your masks; {{policy: otsu}} looks at none"
        yield f"    threshold: {{policy: calibrated}}     # {said}"
    else:
        yield "    threshold: {policy: otsu}     # of every map of every image; looks at no mask"
    yield "  segmenters:"
    yield "    <<: *training"
    if chosen.trained:
        yield "    optimizer: adamw"
        yield "    lr: 3.0e-4"
        yield "    head_lr_mult: 3"
        yield "    weight_decay: 0.01"
    else:
        yield "    output_stride: 16"
    yield f"    epochs: {chosen.network_epochs}"
    sure = ", tag_threshold: 0.4" if chosen.trained and chosen.few else ""
    yield f"    predict: {{scales: {scalar(chosen.network_scales)}, max_side: {chosen.side}, crf: deeplab{sure}}}"
    yield ""
    calibration = f", calibration_images: {chosen.calibration}" if chosen.calibration else ""
    yield f"evaluation: {{threshold: {THRESHOLD}{calibration}}}     # the fixed threshold that maps are shown at"
    yield f"workstation: {{gpus: {chosen.gpus}}}     # GPU jobs at once; without a GPU, one job at a time"


def _gain(chosen: Choices) -> str:
    """What the largest of these scales brings, and what it costs."""
    if max(chosen.scales) > 2:
        return "at 320 pixels they brought about 2 points of mIoU, for 6 times the time"
    return "at 320 pixels 2.0 brought 1 point of mIoU, for twice the time; 2.5 and 3.0 brought 1 more"


def _origin(chosen: Choices) -> str:
    if chosen.weights.pretrained is True:
        return "ImageNet weights from the hub of timm, fetched once; or the path of a file"
    if chosen.weights.pretrained == PACKAGED:
        return "ImageNet weights of an installed package; or the path of a file"
    return (
        "ImageNet weights of this file" if chosen.trained else "no ImageNet weights could be had here; or a file's path"
    )
