"""Explainers, one per file; ``find`` fetches one by its name. A new explainer is one file with one class."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pkgutil import iter_modules

from wsss.errors import WsssError
from wsss.explain.base import Explainer
from wsss.explain.external import external
from wsss.system.plugins import class_of


def names() -> tuple[str, ...]:
    """The names that ``find`` knows, sorted."""
    return tuple(sorted(module.name.replace("_", "-") for module in iter_modules(__path__)))


def find(name: str) -> Callable[..., Explainer]:
    """The class of ``wsss.explain.methods.<name>`` (a dash stands for an underscore), or an explainer of
    another library (``external:captum:IntegratedGradients``).

    Raises:
        WsssError: No such explainer; the message has the nearest names.
    """
    if name.startswith("external:"):
        return external(name)
    if name not in names():
        near = get_close_matches(name, names(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names())}"
        raise WsssError(f"explainer {name!r}: there is none of this name; {hint}")
    return class_of(f"{__name__}.{name.replace('-', '_')}", Explainer)  # type: ignore[type-abstract]
