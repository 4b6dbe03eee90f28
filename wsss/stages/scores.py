"""Scores of one artefact, written as ``scores.json`` and ``scores.csv`` (see ``wsss.evaluate.scoring``)."""

from __future__ import annotations

from typing import Any

from wsss.data.index import Index
from wsss.evaluate.scoring import salient, score_classifier, score_maps, score_masks
from wsss.runtime.run import Run
from wsss.store.manifest import read_manifest
from wsss.store.maps import MapStore
from wsss.store.masks import MaskFolder
from wsss.system.files import write_json, write_rows
from wsss.system.log import log


def make(run: Run) -> None:
    """Score the artefact of a run of ``stages/scores.py`` and write ``scores.json`` and ``scores.csv``.

    Raises :class:`WsssError` with the ids when an image of the index's list has no map, mask or prediction.
    """
    index = Index.load(run.inputs["index"])
    artefact, kind, threads = run.inputs["artefact"], run.args.kind, run.args.threads
    manifest = read_manifest(artefact)
    if kind == "classifiers":
        result = score_classifier(index, artefact / "predictions.csv")
    else:
        any_object = kind.startswith("saliency")
        index = salient(index) if any_object else index
        splits = manifest["settings"].get("splits") or manifest["splits"]
        if kind in ("cams", "saliency"):
            result = score_maps(index, MapStore(artefact), run.settings, splits, run.args.seed, threads, any_object)
        else:
            result = score_masks(index, MaskFolder(artefact / "masks"), splits, threads, any_object)
    dropped = {split: sum(s == split for s, _ in index.dropped) for split in result["splits"]}
    for split, scores in result["splits"].items():
        scores["dropped"] = dropped[split]
        if "note" in scores:
            log.warning(f"{split}: {scores['note']}")
        for policy, found in scores["policies"].items():
            value = next(
                (f"{m} {found[m]:.3f}" for m in ("miou", "map", "tagged_present") if found.get(m) is not None), ""
            )
            log.info(f"{' '.join(filter(None, (split, policy)))}: {value} on {found['images']} images")
    facts = {"kind": kind, "recipe": artefact.name, "dataset": index.name, "classes": list(index.classes)}
    write_json(run.out / "scores.json", {**facts, **result})
    write_rows(run.out / "scores.csv", ("split", "policy", "metric", "value", "images"), rows(result))
    run.note(images={split: scores["images"] for split, scores in result["splits"].items()}, dropped=dropped)


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, float | None, int]]:
    """Scores in long form: (split, policy, metric, value, images); of a class as ``iou_NAME``, ``threshold_NAME``."""
    table = []
    for split, scores in result["splits"].items():
        for policy, found in scores["policies"].items():
            for metric, value in found.items():
                if metric == "per_class":
                    for name, values in value.items():
                        table += [(split, policy, f"{m}_{name}", v, found["images"]) for m, v in values.items()]
                elif metric == "thresholds_per_class":
                    table += [(split, policy, f"threshold_{n}", v, found["images"]) for n, v in value.items()]
                elif metric not in ("images", "threshold_images"):
                    table.append((split, policy, metric, value, found["images"]))
    return table
