"""``summary.md``: the tables of a dataset in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsss.data.index import Index
from wsss.report.effects import effects, effects_table
from wsss.report.headline import final
from wsss.report.paths import paths
from wsss.report.provenance import Scored
from wsss.report.rounds import settled
from wsss.report.tables import (
    TITLES,
    Table,
    agreement_table,
    blind_table,
    choices_table,
    classes_table,
    cost_table,
    counts,
    scores_table,
    tags_table,
    uneven_table,
    uneven_words,
)
from wsss.report.verdict import lights_table, verdict

INTRODUCTION = """\
Scores are percentages, computed over the pixels (classifiers: images) of a split together; with several seeds: mean ±
standard deviation. mIoU includes the background, *mIoU objects* does not; means run over the classes that occur in the
truth or in the prediction. FP and FN: false positives and negatives as shares of the union, mean over object classes.
Pixels that a mask leaves out (255) count as missed.
Thresholds: *fixed* beforehand; *calibrated* on a few ground-truth masks of training images; *oracle*: best on all
ground-truth masks of the very split, an upper bound and no result. Maps and pseudo-labels know the true tags of their
images, predictions do not: compare rows of one table only. Exact values: `summary.csv`; how each was made:
`manifest.json` in its folder.
"""
NO_TRUTH = (
    "No ground-truth masks here, so no score; what can be seen without: *coverage*, the share of an image that a class "
    "takes where it is tagged; tags that have a pixel; foreground whose class is not tagged."
)
EFFECTS = (
    "mIoU of a result beside that of what it was made from, differences in points. Maps stand at the threshold of the "
    "masks that were made of them, beside other maps at the calibrated one; ensembles, votes and choices beside the "
    "best member. *Whole path*: pseudo-labels beside the best ones that fewer artefacts led to, networks likewise."
)
CHOICES = (
    "Which member a choice passed on, and why. Agreement with the others: mean of the mIoU with each of them, on "
    "training images; it looks at no mask. Tags with a pixel: the share of the tags that have one; it does not count."
)
TAGS = (
    "Masks and maps made elsewhere, beside the tags of their images: how many images have a class that they are not "
    "tagged with, how much of all pixels that is, what became of it (*kept* without `veto: tags`), and how many tags "
    "have no pixel or no map. What the removal gains shows in the scores of two recipes, with and without `veto`."
)
AGREEMENT = "Share of the pixels that both label alike; mIoU of one against the other."


def page(dataset: str, index: Index, scored: list[Scored], pictures: Sequence[str]) -> str:
    """``summary.md``."""
    parts = [f"# Summary of {dataset}\n", written(counts(index)), INTRODUCTION]
    parts.insert(2, written(lights_table(verdict(index, scored, final(scored))), title="Verdict"))
    for kind, title in TITLES.items():
        found = [one for one in scored if one.kind == kind]
        if found:
            parts += [f"## {title}\n", written(scores_table(kind, found)), written(blind_table(found), NO_TRUTH)]
    parts += [
        written(effects_table([*effects(scored), *paths(scored)]), EFFECTS, "What each step brought"),
        written(tags_table(scored), TAGS, "What the tags removed"),
        written(uneven_table(scored), uneven_words(index), "Uneven data"),
        written(agreement_table(scored), "\n\n".join([AGREEMENT, *settled(scored)]), "Agreement of members"),
        written(choices_table(scored), CHOICES, "Choice of pseudo-labels"),
        written(classes_table(index, scored), title="IoU of every class"),
        written(cost_table(index, scored), title="Run times"),
    ]
    if pictures:
        parts.append("## Pictures\n")
        parts += [f"![images, truth and results]({name})\n" for name in pictures]
    return "\n".join(part for part in parts if part)


def written(table: Table, said: str = "", title: str = "") -> str:
    """A table with its title and what is said of it; nothing where it has no rows."""
    before = [f"## {title}\n\n"] if title else []
    return "".join([*before, *([f"{said}\n\n"] if said else []), markdown(table.heads, table.rows)]) if table else ""


def markdown(heads: Sequence[str], table: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; bars in the cells are escaped."""
    lines = [heads, ["---"] * len(heads), *table]
    return "".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |\n" for line in lines)
