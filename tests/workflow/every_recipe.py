"""Configurations with a recipe of every settings class, and of every block that may be left out."""

from __future__ import annotations

from typing import Any

import yaml

RECIPES: dict[str, Any] = yaml.safe_load("""
dataset: scenes
datasets: {scenes: {kind: scenes}}
classifiers:
  vanilla: {objective: vanilla}
  puzzle: {objective: puzzle, warm_start: vanilla}
  oc-cse: {objective: oc-cse, ordinary: vanilla}
  p-oc: {objective: p-oc, ordinary: vanilla}
  p-noc: {objective: p-noc, ordinary: vanilla}
  guided: {objective: guided}
  linear: {objective: linear, warm_start: puzzle}
  centred: {objective: linear, features: centred}
  heated: {objective: guided}
cams:
  plain: {classifier: vanilla}
  p-noc: {classifier: p-noc}
  heat: {classifier: guided}
  words: {source: text}
  walk: {source: walk, cams: p-noc, affinity: edges}
  longer: {source: walk, cams: plain, affinity: other}
  alike: {source: feature-walk, cams: walk, warm_start: vanilla}
  both: {source: ensemble, members: [plain, walk], rule: calibrated}
  theirs: {source: external, path: maps.h5}
saliency:
  c2am: {objective: c2am, warm_start: vanilla}
  c2am-h: {objective: c2am-h, hints: plain}
  net: {objective: saliency, saliency: c2am-h, refine: {crf: labels}}
  cut: {objective: token-cut, features: stages, warm_start: vanilla}
affinity:
  edges: {cams: plain, saliency: net}
  other: {cams: plain, warm_start: vanilla}
masks:
  plain: {cams: both, threshold: {policy: calibrated}}
  salient: {cams: walk, saliency: net}
  band: {cams: plain, ignore: {foreground: 0.5, background: 0.2}}
  voted: {source: vote, members: [plain, salient]}
  best: {source: choice, members: [plain, salient, theirs], by: masks}
  again: {source: segmenter, segmenters: [pseudo, other], prior: voted, splits: [train, val], keep_probabilities: true}
  snapped: {source: regions, masks: plain, regions: sam}
  theirs: {source: external, path: masks, veto: tags}
segmenters:
  pseudo: {masks: voted, predict: {crf: deeplab}}
  other: {masks: plain, tags_from: vanilla, predict: {tag_threshold: 0.3}}
  second: {masks: again}
  taught: {objective: ema-teacher, masks: plain}
  early: {objective: early-learning, masks: plain}
  pair: {objective: co-training, masks: band}
  third: {masks: best}
  heat: {supervision: classifier, classifier: heated}
  step-0: {objective: continual, masks: plain, classes: [cat, dog]}
  other-0: {objective: continual, masks: plain, classes: [cat]}
  step-1: {objective: continual, masks: plain, classes: [cow], warm_start: step-0, memory: salient, distil: 0.5}
  found: {masks: plain, architecture_from: small, rank: sample-1}
explanations:
  minmax: {classifier: vanilla, explainer: minmax-cam}
  regions: {segmenter: pseudo, explainer: seg-grad-cam}
memories:
  salient: {segmenter: step-0}
  carried: {segmenter: step-1, previous: salient, cams: plain}
  whole: {segmenter: other-0, method: whole}
audits:
  box: {classifier: vanilla, explainer: grad-cam}
  regions: {segmenter: pseudo, explainer: seg-grad-cam}
searches:
  small: {teacher: pseudo}
  other: {teacher: other}
""")
TARGETS = ("all", "explain", "beyond")
"""What makes everything of ``RECIPES``."""
DATASETS: dict[str, Any] = yaml.safe_load("""
dataset: [scenes, photos, voc, coco]
datasets:
  scenes: {kind: scenes}
  photos: {kind: folder, images: photos, labels: tags.csv, train: train.txt, val: val.txt, classes: [cat, dog]}
  voc: {kind: voc, root: VOC2012}
  coco: {kind: coco, root: coco}
""")
