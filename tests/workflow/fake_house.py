"""Stands in for ``stages/_house.py`` in a copy of the checkout: each stage writes empty outputs and ends.

The stages' own text stays, and so do the hashes of their code; only running them costs nothing.
"""

import json
import pathlib
import sys
import time

FILES = {
    "index": ["index.csv", "classes.txt", "report.json"],
    "classifier": ["model.safetensors", "metrics.jsonl", "predictions.csv"],
    "cams": ["shard-00000-of-00001.h5"],
    "walk": ["shard-00000-of-00001.h5"],
    "ensemble": ["shard-00000-of-00001.h5", "agreement.csv"],
    "external_cams": ["shard-00000-of-00001.h5"],
    "saliency": ["model.safetensors", "metrics.jsonl"],
    "saliency_maps": ["shard-00000-of-00001.h5"],
    "saliency_masks": ["masks/a.png"],
    "affinity_labels": ["masks/a.png"],
    "affinity": ["model.safetensors", "metrics.jsonl"],
    "masks": ["masks/a.png"],
    "vote": ["masks/a.png", "agreement.csv"],
    "external_masks": ["masks/a.png"],
    "segmenter": ["model.safetensors", "metrics.jsonl"],
    "predictions": ["masks/a.png"],
    "explanation": ["shard-00000-of-00001.h5", "metrics.json"],
    "explanations": ["explanations.md", "explanations.csv", "pictures/a.png"],
    "scores": ["scores.json", "scores.csv"],
    "study": ["ablation.md", "ablation.csv"],
    "summary": ["summary.md", "summary.csv", "panels/a.png"],
    "report": ["pictures.csv", "../report.html"],
}

out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
for file in FILES[pathlib.Path(sys.argv[0]).stem]:
    (out / file).parent.mkdir(parents=True, exist_ok=True)
    (out / file).write_text(file)
(out / "manifest.json").write_text(json.dumps({"argv": sys.argv, "made": time.time_ns()}))
sys.exit()
