"""How often the choice among pseudo-labels picks the best: every pair and triple of the masks of a finished run.

    python -m benchmarks.choice results/scenes
    python -m benchmarks.choice results/animals --masks 5 20 100 --members p-noc salient walk --each

The best member is the one with the best mIoU on all ground-truth masks of the training split. Regret: points of mIoU
that the chosen member has less than it. *Any* stands for a member drawn at random: what a rule must beat. Agreement
needs three members, so it has no pairs; the masks that ``by: masks`` looks at are drawn again ``--draws`` times.

Masks that a choice passed on are its members' and left out. Members that lack a training image are left out and named.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from wsss.data.index import Index
from wsss.evaluate.choice import AgreementCounter, Counts, Figures, best, by_agreement, by_masks
from wsss.evaluate.counting import MaskCounter, merged
from wsss.evaluate.scoring import calibration_ids
from wsss.store.manifest import read_manifest
from wsss.store.masks import MaskFolder

HEADS = ("members", "rule", "sets", "right", "any", "regret", "regret of any", "largest regret")
EACH = ("members", "best", "mIoU", "by agreement", "regret", "mIoU of each")


@dataclass(frozen=True)
class Measured:
    """Masks of one seed.

    Attributes:
        names: Their recipes.
        agreement: Sums of an ``AgreementCounter`` over the tagged training images.
        truth: For every recipe and every training image with a ground-truth mask, its counts.
        draws: The images looked at, by their number: positions among those, for each draw.
    """

    names: tuple[str, ...]
    agreement: Counts
    truth: list[list[Counts]]
    draws: dict[int, list[list[int]]]

    @property
    def mious(self) -> list[float]:
        """mIoU of every recipe on all ground-truth masks."""
        return [one.score for one in by_masks([total(images) for images in self.truth])]

    def of_agreement(self, members: Sequence[int]) -> list[Figures]:
        """The figures of some of the recipes among themselves."""
        pairs, unlabelled, seen = self.agreement
        few = np.ix_(members, members)
        return by_agreement((pairs[few], unlabelled[few], seen[[*members, -1]]))

    def of_masks(self, members: Sequence[int], images: Sequence[int]) -> list[Figures]:
        """The same on some ground-truth masks."""
        return by_masks([total([self.truth[m][i] for i in images]) for m in members])


def total(counts: Sequence[Counts]) -> Counts:
    """The sum of counts of several images."""
    first, second, third = (sum(parts) for parts in zip(*counts, strict=True))
    return np.asarray(first), np.asarray(second), np.asarray(third)


def measured(index: Index, folders: Sequence[Path], numbers: Sequence[int], draws: int, threads: int) -> Measured:
    """Compare the masks of some recipes with each other and with the ground truth."""
    names, members = tuple(folder.name for folder in folders), tuple(MaskFolder(f / "masks") for f in folders)
    classes, scored = len(index.classes), index.scored("train")
    agreement = merged(AgreementCounter(names, members, classes), index.labelled("train"), threads, "agreement")
    truth: list[list[Counts]] = []
    for member in members:
        counter, counts = MaskCounter(member, classes), []
        for item in scored:
            counts.append(counter.start())
            counter.add(counts[-1], item)
        truth.append(counts)
    place = {item.id: n for n, item in enumerate(scored)}
    drawn = {
        number: [[place[id] for id in calibration_ids(scored, number, seed)] for seed in range(draws)]
        for number in numbers
    }
    return Measured(names, agreement, truth, drawn)


def regrets(found: Measured, members: Sequence[int]) -> dict[str, list[float]]:
    """Rule -> points lost on these members, for each draw; ``any``: of every member."""
    values = [100 * found.mious[m] for m in members]
    lost = {"any": [max(values) - value for value in values]}
    if len(members) > 2:
        lost["agreement"] = [max(values) - values[best(found.of_agreement(members))]]
    for number, draws in found.draws.items():
        lost[f"{number} masks"] = [max(values) - values[best(found.of_masks(members, images))] for images in draws]
    return lost


def rows(every: Sequence[Measured]) -> list[list[str]]:
    """A row for each number of members and each rule."""
    table = []
    for size in (2, 3):
        lost = [regrets(found, members) for found in every for members in combinations(range(len(found.names)), size)]
        for rule in dict.fromkeys(name for one in lost for name in one if name != "any"):
            some, anybody = ([one[name] for one in lost] for name in (rule, "any"))
            right, chance = (np.mean([np.mean([v == 0 for v in one]) for one in each]) for each in (some, anybody))
            regret, drawn = (np.mean([np.mean(one) for one in each]) for each in (some, anybody))
            shares = f"{100 * right:.0f} %", f"{100 * chance:.0f} %"
            points = f"{regret:.2f}", f"{drawn:.2f}", f"{max(map(max, some)):.2f}"
            table.append([str(size), rule, str(len(lost)), *shares, *points])
    return table


def each_triple(every: Sequence[Measured]) -> list[list[str]]:
    """A row for each triple: what agreement chose, and what was best."""
    table = []
    for found in every:
        for members in combinations(range(len(found.names)), 3):
            values = [100 * found.mious[m] for m in members]
            names = [found.names[m] for m in members]
            taken, top = best(found.of_agreement(members)), values.index(max(values))
            texts = ", ".join(f"{value:.1f}" for value in values)
            lost = f"{values[top] - values[taken]:.2f}"
            table.append([", ".join(names), names[top], f"{values[top]:.1f}", names[taken], lost, texts])
    return table


def folders_of(results: Path, index: Index, names: Sequence[str] | None) -> list[list[Path]]:
    """The mask folders of every seed that can be compared; says which cannot."""
    found: dict[str, list[Path]] = {}
    wanted = index.split("train")
    for manifest in sorted(results.glob("s*/masks/*/manifest.json")):
        folder = manifest.parent
        chosen = (read_manifest(folder).get("settings") or {}).get("source") == "choice"
        if chosen or (names and folder.name not in names):
            continue
        masks = MaskFolder(folder / "masks")
        if all(item.id in masks for item in wanted):
            found.setdefault(folder.parts[-3], []).append(folder)
        else:
            print(f"{folder}: lacks masks of training images, left out\n")
    return list(found.values())


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [heads, ["---"] * len(heads), *lines])


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.choice", description=__doc__, formatter_class=raw)
    parser.add_argument("results", type=Path, help="folder of a dataset below the results")
    parser.add_argument("--members", nargs="+", metavar="NAME", help="recipes of masks (default: all)")
    parser.add_argument("--masks", nargs="+", type=int, default=[5, 20], metavar="K", help="masks looked at (5 20)")
    parser.add_argument("--draws", type=int, default=10, help="draws of them (default 10)")
    parser.add_argument("--each", action="store_true", help="also a row for every triple")
    parser.add_argument("--threads", type=int, default=1, help="worker processes (default 1)")
    args = parser.parse_args()
    index = Index.load(args.results / "index")
    seeds = folders_of(args.results, index, args.members)
    every = [measured(index, folders, args.masks, args.draws, args.threads) for folders in seeds]
    print(markdown(HEADS, rows(every)))
    if args.each:
        print("\n" + markdown(EACH, each_triple(every)))


if __name__ == "__main__":
    main()
