"""When self-training has settled: rounds after which the networks say what their masks say, told without any truth.

Source: the rule stands for that of the recipe, "mean IoU between the tag-restricted predictions of two rounds above
0.95", and compares the predictions of the networks with the masks that they correct, which the last round's networks
made. This project's.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from wsss.report.provenance import Scored
from wsss.store.manifest import read_manifest
from wsss.text import listed

SETTLED = 0.95
"""Mean IoU of networks and prior above which another round brings nothing."""


def settled(scored: Sequence[Scored]) -> list[str]:
    """A sentence for each set of masks of ``source: segmenter`` that is not worth a training, since its networks agree
    with its prior, in the mean over the seeds; none for rounds that follow on such a one."""
    found: dict[str, list[float]] = {}
    about: dict[str, dict[str, str]] = {}
    for one in {one.artefact: one for one in scored if one.kind == "masks"}.values():
        manifest = read_manifest(one.artefact)
        settings = manifest.get("settings") or {}
        if settings.get("source") == "segmenter" and settings.get("prior"):
            found.setdefault(one.recipe, []).extend(row["miou"] for row in manifest.get("agreement", ()))
            about[one.recipe] = {"prior": settings["prior"], "networks": listed(settings["segmenters"])}
    over = {name: mean(values) for name, values in found.items() if values and mean(values) > SETTLED}
    return [
        f"Self-training has settled: the network {about[name]['networks']} agrees with the pseudo-labels "
        f"{about[name]['prior']} up to a mean IoU of {100 * value:.1f} % (tags given, no ground truth), above "
        f"{100 * SETTLED:.0f} %. It is the last round worth training: one on the pseudo-labels {name} would hardly "
        "say anything else."
        for name, value in over.items()
        if about[name]["prior"] not in over
    ]
