"""Pseudo-labels from trained segmentation networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wsss.data.buckets import Buckets, buckets
from wsss.data.images import read_upright
from wsss.data.index import Index, Item
from wsss.data.palette import IGNORE
from wsss.errors import WsssError
from wsss.evaluate.agreement import Agreement, count_pairs
from wsss.inference.network import open_network
from wsss.inference.segmentation import mean_probabilities
from wsss.models.segmenter import load_segmenter
from wsss.parts.folder import items_of
from wsss.parts.maps import Format
from wsss.parts.masks import Written, finished, write_masks
from wsss.refine.crf import holds_no_lock, prepare
from wsss.refine.self_training import corrected_mask, labels_of, restrict
from wsss.refine.soft_targets import LEVELS, STRIDE, on_grid
from wsss.runtime.run import Run
from wsss.settings import SegmenterMasksSettings
from wsss.store.masks import MaskFolder
from wsss.system.exit import Stoppable

PROBABILITIES = Format((1.0,), False, STRIDE, 1, {"relative": 0, "levels": LEVELS})
"""How probabilities are kept; a view of them is stretched to exactly the size of the image."""
UNTOUCHED = (0, 0, 0, None)
"""Tally of an image without tags, which no network sees."""


@dataclass(frozen=True)
class CorrectedWriter:
    """Mixes the tag-restricted probabilities q (|K| + 1, H, W) of an image with its prior and writes the new mask: what
    a worker process does.

    The tally: the numbers of pixels left out, of pixels that got another label than the prior's, and of guarded tags;
    and how the most probable label of q agrees with the prior (None without one). Raises :class:`WsssError` when the
    prior's mask has another size than the image, or holds labels that the dataset does not have.
    """

    settings: SegmenterMasksSettings
    prior: MaskFolder | None
    classes: int
    masks: MaskFolder

    def __call__(self, pair: tuple[Item, np.ndarray]) -> Written:
        item, q = pair
        prior = None if self.prior is None else self._read(self.prior, item)
        image = None if self.settings.crf is None else read_upright(item.image, (item.height, item.width))
        mask, guarded = corrected_mask(q, item.labels, prior, image, self.settings)
        changed, counted = 0, None
        if prior is not None:
            changed = int(((mask != prior) & (mask != IGNORE)).sum())
            counted = count_pairs([labels_of(item.labels)[q.argmax(axis=0)], prior])
        tally = (int((mask == IGNORE).sum()), changed, guarded, counted)
        maps = (item.labels, [on_grid(q)]) if self.settings.keep_probabilities else None
        return Written(item.id, self.masks.write(item.id, mask), tally, maps)

    def _read(self, prior: MaskFolder, item: Item) -> np.ndarray:
        mask = prior.read(item.id)
        if mask.shape != (item.height, item.width):
            size = f"{mask.shape[0]} x {mask.shape[1]}"
            raise WsssError(f"{prior.file(item.id)} is {size} pixels, the image is {item.height} x {item.width}")
        strange = np.setdiff1d(mask, [*range(self.classes + 1), IGNORE])
        if len(strange):
            allowed = f"allowed are 0 to {self.classes} and 255"
            raise WsssError(f"{prior.file(item.id)} has the values {strange.tolist()} in it; {allowed}")
        return mask


def corrected(
    networks: Sequence[torch.nn.Module],
    items: list[Item],
    device: torch.device,
    threads: int,
    among: Buckets,
    finish: CorrectedWriter,
    run: Stoppable,
) -> Iterator[Written]:
    """Write the masks of tagged ``items``. With a CRF, some probabilities wait for each other and for it, or, of
    networks on a GPU, are refined beside them. The first arguments are those of ``mean_probabilities``.

    Raises:
        Interrupted: A signal asked ``run`` to stop; what is made stays.
    """
    found = mean_probabilities(networks, items, finish.settings, device, threads, among)
    pairs = ((item, restrict(probabilities, item.labels)) for item, probabilities in found)
    crf = finish.settings.crf
    beside = device.type == "cuda" and holds_no_lock(crf)
    yield from finished(pairs, finish, crf is not None, threads, run, beside)


def make(run: Run) -> None:
    """Write the mask of every image of the splits, and q where it is kept.

    Facts for the manifest: ``ignored_share``, and with a prior ``changed_share`` (pixels with another label than the
    prior's, of all pixels), ``guarded_tags``, and ``agreement`` of the networks' most probable labels with the prior on
    the tagged images, in the form of a vote's.

    Raises:
        WsssError: A network was trained on other classes than the index has; images have no fitting mask in the prior;
            the folders that are given are not those that the settings name.
    """
    settings: SegmenterMasksSettings = run.settings
    index = Index.load(run.inputs["index"])
    folders, items = run.one_each("segmenters", settings.segmenters), items_of(run, index)
    prior = MaskFolder(run.inputs["prior"] / "masks") if "prior" in run.inputs else None
    if (prior is None) != (settings.prior is None):
        named = f"the prior {settings.prior!r}: give its masks with" if settings.prior else "no prior: leave out"
        raise WsssError(f"the settings name {named} --prior DIR")
    if prior is not None:
        prior.require((item for item in items if item.labels), f"add their split to masks.{settings.prior}.splits")
    run.record(**prepare(settings.crf))

    def begin(masks: MaskFolder) -> Callable[[list[Item]], Iterator[Written]]:
        threads, among = run.args.threads, buckets(items)
        opened = [open_network(folder, load_segmenter, index, run.args.device, threads) for folder in folders]
        networks, device = [network for network, _ in opened], opened[0][1]
        finish = CorrectedWriter(settings, prior, len(index.classes), masks)

        def produce(part: list[Item]) -> Iterator[Written]:
            for item in (one for one in part if not one.labels):
                nothing = np.zeros((item.height, item.width), np.uint8)
                yield Written(item.id, masks.write(item.id, nothing), UNTOUCHED, ((), ()))
            yield from corrected(networks, [i for i in part if i.labels], device, threads, among, finish, run)

        return produce

    tallies = write_masks(run, items, begin, PROBABILITIES if settings.keep_probabilities else None)
    if tallies is None:
        return
    total = max(1, sum(item.height * item.width for item in items))
    ignored, changed, guarded = (sum(tally[n] for tally in tallies) for n in range(3))
    run.note(ignored_share=round(ignored / total, 4))
    if settings.prior is not None:
        names = (f"networks {', '.join(settings.segmenters)}", f"masks {settings.prior}")
        pairs = Agreement(names, len(index.classes))
        for *_, counted in tallies:
            if counted is not None:
                pairs.add(counted)
        run.note(changed_share=round(changed / total, 4), guarded_tags=guarded, agreement=pairs.rows())
