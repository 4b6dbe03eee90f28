"""The words that maps are made with: texts of the classes and of the background as vectors of a text tower.

A class has synonyms. CLIP-ES (``grad-cam``) joins them by commas into one text; the dense methods give each a vector of
its own. A background word that is a word of a class, or whose vector is too near to one, would take the class's pixels,
so it is dropped, and named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from wsss.errors import WsssError
from wsss.models.clip_tower import ClipTower, open_clip
from wsss.settings import TextCamsSettings
from wsss.text import listed, nearest

VERSION = 1
CONFUSED = 0.9
"""Cosine of two classes' texts above which their maps will hardly differ."""


@dataclass(frozen=True)
class Words:
    """The words of a dataset.

    Attributes:
        vectors: float32 (n, d), each of length 1.
        of_class: Rows of each class's words.
        background: Rows of the background's words.
        told: What is said of them in the manifest: ``templates``, ``classes`` (texts of each), ``background``,
            ``dropped`` (word -> why), ``alike`` (pairs of classes with their cosine, above 0.9).
    """

    vectors: torch.Tensor
    of_class: tuple[tuple[int, ...], ...]
    background: tuple[int, ...]
    told: dict[str, Any]


def templates_of(settings: TextCamsSettings) -> tuple[str, ...]:
    """The sentences that words are put into: those of the settings; by default CLIP-ES's for ``grad-cam``, and
    ImageNet's 80 (Radford et al. 2021) for the dense methods."""
    if settings.templates is not None:
        return settings.templates
    if settings.method == "grad-cam":
        return ("a clean origami {}.",)
    return tuple(template("{}") for template in open_clip().OPENAI_IMAGENET_TEMPLATES)


def texts_of(classes: Sequence[str], settings: TextCamsSettings) -> tuple[tuple[str, ...], ...]:
    """The texts of each class.

    Raises:
        WsssError: Synonyms of a class that there is not.
    """
    for name in settings.synonyms:
        if name not in classes:
            raise WsssError(
                f"synonyms: the dataset has no class {name!r}{nearest(name, classes)} (allowed: {listed(classes)})"
            )
    found = (settings.synonyms.get(name) or (name.replace("_", " "),) for name in classes)
    if settings.method == "grad-cam":
        return tuple((",".join(words),) for words in found)
    return tuple(tuple(words) for words in found)


def vectors_of(tower: ClipTower, texts: Sequence[str], templates: Sequence[str]) -> torch.Tensor:
    """Vectors float32 (n, d) of length 1: those of a text in all templates, each of length 1, averaged."""
    each = [tower.texts([template.replace("{}", text) for template in templates]).mean(0) for text in texts]
    return F.normalize(torch.stack(each), dim=-1)


def words_of(tower: ClipTower, classes: Sequence[str], settings: TextCamsSettings) -> Words:
    """The words of a dataset's classes and of the background.

    Raises:
        WsssError: As ``texts_of``; or no background word is left.
    """
    templates, texts = templates_of(settings), texts_of(classes, settings)
    flat = [text for of_class in texts for text in of_class]
    objects = vectors_of(tower, flat, templates)
    owners = [number for number, of_class in enumerate(texts) for _ in of_class]
    background = settings.background_words
    scenery = vectors_of(tower, background, templates)
    dropped = _too_near(background, scenery, classes, texts, objects, owners, settings.too_near)
    kept = [n for n, word in enumerate(background) if word not in dropped]
    if not kept:
        raise WsssError(
            f"no background word is left of {listed(background)}: {listed(dropped.values(), '; ')}; name others "
            "('background'), or raise 'too_near'"
        )
    rows = [tuple(n for n, owner in enumerate(owners) if owner == number) for number in range(len(classes))]
    told = {
        "templates": list(templates),
        "classes": {name: list(words) for name, words in zip(classes, texts, strict=True)},
        "background": [background[n] for n in kept],
        "dropped": dropped,
        "alike": _alike(classes, objects, rows),
    }
    places = tuple(range(len(flat), len(flat) + len(kept)))
    return Words(torch.cat([objects, scenery[kept]]), tuple(rows), places, told)


def _too_near(
    words: Sequence[str],
    vectors: torch.Tensor,
    classes: Sequence[str],
    texts: Sequence[Sequence[str]],
    objects: torch.Tensor,
    owners: Sequence[int],
    most: float,
) -> dict[str, str]:
    """Background words that are dropped, and why."""
    own: Mapping[str, str] = {
        _plain(word): name
        for name, of_class in zip(classes, texts, strict=True)
        for text in (name, *of_class)
        for word in text.split(",")
    }
    cosines = vectors @ objects.T
    dropped = {}
    for n, word in enumerate(words):
        nearest_one = int(cosines[n].argmax())
        cosine = float(cosines[n, nearest_one])
        if _plain(word) in own:
            dropped[word] = f"{word} is a word of the class {own[_plain(word)]}"
        elif cosine > most:
            dropped[word] = f"{word} is as near as {cosine:.3f} to the class {classes[owners[nearest_one]]}"
    return dropped


def _plain(word: str) -> str:
    return " ".join(word.replace("_", " ").casefold().split())


def _alike(classes: Sequence[str], objects: torch.Tensor, rows: Sequence[Sequence[int]]) -> list[list[Any]]:
    """Pairs of classes whose nearest words have a cosine above ``CONFUSED``."""
    found = []
    for a in range(len(classes)):
        for b in range(a + 1, len(classes)):
            cosine = float((objects[list(rows[a])] @ objects[list(rows[b])].T).max())
            if cosine > CONFUSED:
                found.append([classes[a], classes[b], round(cosine, 4)])
    return found
