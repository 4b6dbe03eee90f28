"""The JSON schema of ``config.yaml``, made from the typed settings; editors read it for completion and checks.

It never refuses what ``wsss.config.loader.load`` takes. It cannot see references, circles and what ``defaults`` fill
in, so it requires no key: the loader does.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from wsss.config.loader import CODE
from wsss.settings import CRF_PRESETS, KINDS, AblationSettings, EvaluationSettings, WorkstationSettings, variants

_MEANING = {
    "datasets": "Where images, labels and masks come from.",
    "classifiers": "Multi-label classifiers, whose maps show where a class is.",
    "cams": "Maps of the tagged classes: of a classifier, a random walk, an ensemble, or made elsewhere.",
    "saliency": "Networks that tell objects of any class from background, and their maps.",
    "affinity": "Networks that tell which neighbouring pixels belong together.",
    "masks": "Pseudo-labels from maps, a vote of or a choice among other masks, trained networks, or elsewhere.",
    "segmenters": "Segmentation networks trained on masks.",
    "explanations": "Explanations of classifiers and segmentation networks, measured; snakemake explain makes them.",
    "memories": "Few images of classes learnt before, compressed for replay; snakemake beyond makes them.",
    "audits": "Attacks on the explanations of one's own networks, measured; snakemake beyond makes them.",
    "searches": "Small networks that explain as a trained one does, and whether it pays; snakemake beyond makes them.",
}


def _loosen(node: Any) -> Any:
    """Say what the validators also take: one name for a list of names, ``1e-4`` as text, presets of the CRF. Where a
    validator stands before a list, pydantic writes its length as that of a text."""
    if isinstance(node, list):
        return [_loosen(n) for n in node]
    if not isinstance(node, dict):
        return node
    node = {k: _loosen(v) for k, v in node.items() if k not in ("required", "title", "discriminator")}
    if node.get("type") == "number":
        return {**node, "type": ["number", "string"], "pattern": r"^[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?$"}
    if node.get("type") == "array" and "minLength" in node:
        node["minItems"] = node.pop("minLength")
    if node.get("type") == "array" and "enum" in node.get("items", {}):
        meaning = {k: node.pop(k) for k in ("description", "default") if k in node}
        return {"anyOf": [node["items"], node], **meaning}
    return node


def schema() -> dict[str, Any]:
    """The schema as plain data (draft 2020-12; no unknown keys; a description a key)."""
    definitions: dict[str, Any] = {}

    def refer(cls: type) -> dict[str, Any]:
        made = TypeAdapter(cls).json_schema(ref_template="#/$defs/{model}")
        definitions.update(made.pop("$defs", {}))
        definitions[cls.__name__] = made
        return {"$ref": f"#/$defs/{cls.__name__}"}

    blocks: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for kind in KINDS:
        one = [refer(cls) for cls in variants(kind).values()]
        recipe = one[0] if len(one) == 1 else {"anyOf": one}
        blocks[kind] = {
            "description": _MEANING.get(kind, ""),
            "type": ["object", "null"],
            "propertyNames": {"pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$"},
            "additionalProperties": {"anyOf": [recipe, {"type": "null"}]},
        }
        keys: dict[str, Any] = {f: {} for cls in variants(kind).values() for f in cls.model_fields}
        defaults[kind] = {"type": ["object", "null"], "properties": keys, "additionalProperties": False}
    properties = {
        "dataset": {
            "description": "The dataset to run on, or a list of several; names of recipes in 'datasets'.",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
        },
        "seeds": {
            "description": "Everything is run once a seed; the tables show mean and spread.",
            "type": "array",
            "items": {"type": "integer", "minimum": 0},
            "minItems": 1,
            "uniqueItems": True,
            "default": [0],
        },
        "results": {"description": "Folder of the results.", "type": "string", "default": "results"},
        "code": {
            "description": "declared: a result is made again when a version is raised; strict: as soon as a file of "
            "the code that made it has changed (for those who work on wsss itself).",
            "enum": list(CODE),
            "default": CODE[0],
        },
        **blocks,
        "defaults": {
            "description": "Settings that every recipe of a kind has unless it says otherwise.",
            "type": ["object", "null"],
            "properties": defaults,
            "additionalProperties": False,
        },
        "evaluation": {"anyOf": [refer(EvaluationSettings), {"type": "null"}]},
        "ablation": {"anyOf": [refer(AblationSettings), {"type": "null"}]},
        "workstation": {"anyOf": [refer(WorkstationSettings), {"type": "null"}]},
    }
    definitions = {name: _loosen(definitions[name]) for name in sorted(definitions)}
    crf = definitions["CrfSettings"]
    crf["properties"]["preset"] = {"description": "The numbers to start from.", "enum": list(CRF_PRESETS)}
    definitions["CrfSettings"] = {"description": crf["description"], "anyOf": [{"enum": list(CRF_PRESETS)}, crf]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "wsss configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": definitions,
    }
