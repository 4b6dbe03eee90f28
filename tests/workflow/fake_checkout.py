"""Stands in for ``stages/_path.py`` in a copy of the checkout: the stages' own frame runs, with arguments, locks,
identities and manifests; in place of the work each writes little files with a text that follows from its identity."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

FILES = {
    "index": ["index.csv", "classes.txt", "report.json"],
    "classifier": ["model.safetensors", "metrics.jsonl", "predictions.csv"],
    "cams": ["shard-00000-of-00001.h5"],
    "text_cams": ["shard-00000-of-00001.h5"],
    "walk": ["shard-00000-of-00001.h5"],
    "feature_walk": ["shard-00000-of-00001.h5"],
    "ensemble": ["shard-00000-of-00001.h5", "agreement.csv"],
    "external_cams": ["shard-00000-of-00001.h5"],
    "saliency": ["model.safetensors", "metrics.jsonl"],
    "saliency_maps": ["shard-00000-of-00001.h5"],
    "saliency_masks": ["masks/a.png"],
    "affinity_labels": ["masks/a.png"],
    "affinity": ["model.safetensors", "metrics.jsonl"],
    "masks": ["masks/a.png"],
    "vote": ["masks/a.png", "agreement.csv"],
    "choice": ["masks/a.png"],
    "segmenter_masks": ["masks/a.png"],
    "regions": ["masks/a.png"],
    "external_masks": ["masks/a.png"],
    "segmenter": ["model.safetensors", "metrics.jsonl"],
    "predictions": ["masks/a.png"],
    "explanation": ["shard-00000-of-00001.h5", "metrics.json"],
    "explanations": ["explanations.md", "explanations.csv", "pictures/a.png"],
    "memory": ["memory.h5", "memory.csv", "metrics.json"],
    "continual": ["continual.md", "continual.csv"],
    "audit": ["audit.csv", "metrics.json"],
    "audits": ["audits.md", "audits.csv"],
    "search": ["search.csv", "ranked.json"],
    "searches": ["searches.md", "searches.csv"],
    "scores": ["scores.json", "scores.csv"],
    "ablation_table": ["ablation.md", "ablation.csv"],
    "summary": ["summary.md", "summary.csv", "panels/a.png"],
    "report": ["pictures.csv", "../report.html"],
}
TABLES = {
    "index.csv": "id,height,width\na,10,20\n",
    "classes.txt": "cat\n",
    "scores.json": '{"kind": "", "recipe": "{}", "classes": ["cat"], "splits": {"val": {"images": 1}}}',
}
"""Contents that are read; {} stands for the identity."""


def write(folder, stage, identity):
    """What a stage leaves in its folder. Scores hang on what is scored, not on settings."""
    for name in FILES[stage]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(TABLES.get(name, f"{name} {{}}\n").replace("{}", identity))


def work(run):
    """In place of the stage's own."""
    if run.shard is None:
        write(run.out, run.stage, run.identity)
    else:
        run.record(shard=f"{run.shard.number}/{run.shard.total}")
    run.note(images=1)


if __name__ == "_path":
    from wsss.runtime.program import Stage

    main = Stage.main
    Stage.main = lambda self, argv=None: main(self, argv, work)
