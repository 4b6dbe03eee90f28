"""Stands in for ``stages/_house.py``: the stages' own frame runs, with arguments, locks and manifests, and the work is
left out."""

import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

FILES = {
    "classifier": ["model.safetensors", "metrics.jsonl", "predictions.csv"],
    "masks": ["masks/a.png"],
    "segmenter": ["model.safetensors", "metrics.jsonl"],
    "predictions": ["masks/a.png"],
    "scores": ["scores.json", "scores.csv"],
    "summary": ["summary.md", "summary.csv", "panels/a.png"],
    "report": ["pictures.csv", "../report.html"],
}


def write(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def work(run):
    if run.share is None:
        write(run.out, FILES.get(run.stage, ()))
    else:
        run.note(shard=f"{run.share.number}/{run.share.total}")
    run.note(images=1)


def build_index(settings, name, out, threads):
    write(out, ["index.csv", "classes.txt", "report.json"])
    return types.SimpleNamespace(name=name, classes=(), dropped=(), split=lambda split: [split])


class Idle(types.ModuleType):
    """A module whose every function does the same: next to nothing."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return build_index if name == "build_index" else work


for module in (
    *("wsss.data.build", "wsss.train", "wsss.apply", "wsss.evaluate.scoring", "wsss.evaluate.summary"),
    *("wsss.refine.pseudo_masks", "wsss.report.write"),
):
    sys.modules[module] = Idle(module)
