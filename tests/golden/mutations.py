"""Changes of methods, each with a case that has to see it, and changes of layout that no case may see.

The code of functions is exchanged where they are, so that whoever has imported them runs the changed ones; nothing is
written. What is changed is named by its text: where that is gone, the change is written anew here.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from tests.golden.cases import case, with_inputs

Found = dict[str, Any]


@dataclass(frozen=True)
class Mutation:
    """``old`` becomes ``new`` wherever it stands in the text of a module; ``case`` has to see it."""

    case: str
    module: str
    old: str
    new: str


MUTATIONS = {
    "a loss weighs a tenth more": Mutation(
        "classifier.puzzle",
        "wsss.losses.base",
        "(ramp.end - ramp.start) * moved",
        "(ramp.end - ramp.start) * 1.1 * moved",
    ),
    "the learning rate falls a little faster": Mutation(
        "classifier.puzzle", "wsss.training.optimisers", "** settings.poly_power", "** (1.02 * settings.poly_power)"
    ),
    "images are resized by another filter": Mutation(
        "classifier.guided", "wsss.data.transforms", "Image.Resampling.BICUBIC", "Image.Resampling.LANCZOS"
    ),
    "ranks of pairs start at 0": Mutation("saliency.c2am", "wsss.objectives.c2am", ".float() - 1)", ".float())"),
    "an epsilon in the affinity loss": Mutation(
        "affinity.edges", "wsss.objectives.affinity", "torch.log(wanted + EPSILON)", "torch.log(wanted + 0.001)"
    ),
    "one more iteration of the CRF": Mutation(
        "masks.calibrated", "wsss.refine.crf", "self.settings.iterations if", "self.settings.iterations + 1 if"
    ),
    "the CRF trusts its labels more": Mutation(
        "masks.calibrated",
        "wsss.refine.crf",
        "np.float32(-np.log(confidence))",
        "np.float32(-np.log(confidence ** 0.5))",
    ),
    "maps are divided by more than their maximum": Mutation("masks.fixed", "wsss.store.views", "+ EPSILON)", "+ 0.01)"),
    "corners of maps are aligned": Mutation(
        "masks.fixed", "wsss.store.views", "align_corners=False", "align_corners=True"
    ),
    "the first of two labels wins a tie": Mutation(
        "vote.majority", "wsss.refine.votes", ".sum(axis=0) == 1)", ".sum(axis=0) >= 1)"
    ),
    "a class is contrasted less with others": Mutation(
        "cams.minmax-cam", "wsss.explain.methods.minmax_cam", "- self.l_neg *", "- 0.98 * self.l_neg *"
    ),
    "the mirror is not turned back": Mutation(
        "cams.cam", "wsss.inference.cams", "activation[0] + activation[1].flip(-1)", "activation[0] + activation[1]"
    ),
    "noisy-or of weaker maps": Mutation(
        "ensemble.noisy-or",
        "wsss.refine.ensembles",
        "1 - (1 - maps).prod(axis=0)",
        "1 - (1 - 0.99 * maps).prod(axis=0)",
    ),
    "small objects of COCO lie below": Mutation(
        "index.coco", "wsss.data.kinds.coco", '-pair[1].get("area", 0.0)', 'pair[1].get("area", 0.0)'
    ),
    "what no mask labels counts as found": Mutation(
        "scores.masks-vote", "wsss.evaluate.confusion", "matrix.sum(axis=-1) + unlabelled", "matrix.sum(axis=-1)"
    ),
}
NEUTRAL = (
    "wsss.objectives.puzzle",
    "wsss.losses.terms",
    "wsss.refine.votes",
    "wsss.refine.crf",
    "wsss.store.views",
)
"""Modules that are written anew from their syntax, without comments and in another layout."""
SAME = ("classifier.puzzle", "vote.majority", "masks.calibrated")
"""Cases that use them."""


def functions(module: ModuleType) -> dict[str, FunctionType]:
    """The functions and methods that a module defines, by qualified name, without what decorates them."""
    found: dict[str, FunctionType] = {}

    def take(holder: dict[str, Any]) -> None:
        for value in holder.values():
            value = inspect.unwrap(value) if callable(value) and not inspect.isclass(value) else value
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                found[value.__qualname__] = value
            elif inspect.isclass(value) and value.__module__ == module.__name__:
                take(dict(vars(value)))

    take(dict(vars(module)))
    return found


def codes(code: CodeType) -> dict[str, CodeType]:
    """Code of all functions in compiled source, by qualified name."""
    found: dict[str, CodeType] = {}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found |= {inner.co_qualname: inner, **codes(inner)}
    return found


@contextlib.contextmanager
def rewritten(name: str, text: str) -> Iterator[None]:
    """Within the block the functions of a module are those of another text."""
    module = import_module(name)
    new = codes(compile(text, str(module.__file__), "exec", dont_inherit=True))
    before = {key: function.__code__ for key, function in functions(module).items() if key in new}
    for key, function in functions(module).items():
        if key in new:
            function.__code__ = new[key]
    try:
        yield
    finally:
        for key, function in functions(module).items():
            if key in before:
                function.__code__ = before[key]


def mutated(one: Mutation) -> contextlib.AbstractContextManager[None]:
    """The change in force. Raises ``ValueError`` where its text does not stand in the module."""
    text = source(one.module)
    if one.old not in text:
        raise ValueError(f"{one.old!r} does not stand in {one.module}: write the mutation anew")
    return rewritten(one.module, text.replace(one.old, one.new))


def source(module: str) -> str:
    return Path(str(import_module(module).__file__)).read_text("utf-8")


def run() -> dict[str, dict[str, Found]]:
    """Mutation -> its case -> what came of it; ``reformatted`` -> the cases of ``SAME``."""
    from tests.golden.running import run_in

    targets = {*SAME, *(one.case for one in MUTATIONS.values())}
    read = {key for one in with_inputs(targets) for key in one.reads()}
    found: dict[str, dict[str, Found]] = {}
    with tempfile.TemporaryDirectory(prefix="wsss-golden-") as folder:
        inputs = run_in([one for one in with_inputs(targets) if one.key in read], Path(folder))
        with contextlib.chdir(folder):
            for name, one in MUTATIONS.items():
                with mutated(one):
                    found[name] = {one.case: again(one.case, inputs)}
            with contextlib.ExitStack() as stack:
                for module in NEUTRAL:
                    stack.enter_context(rewritten(module, ast.unparse(ast.parse(source(module)))))
                found["reformatted"] = {key: again(key, inputs) for key in SAME}
    return found


def again(key: str, inputs: dict[str, Found]) -> Found:
    """Make a case anew."""
    from tests.golden.running import result

    shutil.rmtree(case(key).out, ignore_errors=True)
    return result(case(key), inputs)
