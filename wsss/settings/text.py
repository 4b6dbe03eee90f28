"""Maps of networks that were trained on images with their captions: no classifier, the classes' names are enough."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from wsss.settings.base import Count, Fraction, Positive, ScatteredSettings, Splits, as_tuple

_SCENERY = (
    *("ground", "land", "grass", "tree", "building", "wall", "sky", "lake", "water", "river", "sea", "railway"),
    *("railroad", "keyboard", "helmet", "cloud", "house", "mountain", "ocean", "road", "rock", "street", "valley"),
    *("bridge", "sign"),
)
BACKGROUNDS: dict[str, tuple[str, ...]] = {
    # CLIP-ES on VOC, and on COCO, which has classes for two of them
    "voc": _SCENERY,
    "coco": tuple(word for word in _SCENERY if word not in ("keyboard", "sign")),
    # SCLIP and NACLIP
    "natural": (
        *("sky", "wall", "tree", "wood", "grass", "road", "sea", "river", "mountain", "sands", "desk", "bed"),
        *("building", "cloud", "lamp", "door", "window", "wardrobe", "ceiling", "shelf", "curtain", "stair", "floor"),
        *("hill", "rail", "fence"),
    ),
}
"""Lists of background words by name."""


WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin")
"""Suffixes of files of weights."""


def is_file(weights: str) -> bool:
    """Whether a setting means a file, and not a tag of a list.

    Examples:
        >>> is_file("openai"), is_file("weights/clip.safetensors"), is_file("clip.pt")
        (False, True, True)
    """
    return "/" in weights or weights.endswith(WEIGHT_FILES)


def _background(value: Any) -> Any:
    """Replace a list's name by its words, so that the words are what is compared."""
    if isinstance(value, str):
        if value not in BACKGROUNDS:
            raise ValueError(f"unknown list {value!r}; allowed: {', '.join(BACKGROUNDS)}, or a list of words")
        return BACKGROUNDS[value]
    return as_tuple(value)


_Written = Literal["voc", "coco", "natural"] | tuple[str, ...]
Words = Annotated[tuple[str, ...], BeforeValidator(_background, json_schema_input_type=_Written), Field(min_length=1)]


class TextCamsSettings(ScatteredSettings):
    """Maps of the tagged classes from CLIP, by what the classes are called; nothing is trained. Each image is seen
    once, at one scale, and asked for its tags and for background words alone."""

    source: Literal["text"] = "text"
    method: Literal["grad-cam", "maskclip", "sclip", "clearclip", "naclip", "proxy"] = "grad-cam"
    """``grad-cam``: gradients of the softmax over tags and background, spread by the network's attention (CLIP-ES):
    smooth and partial; the others: a dense comparison of patches and texts, by how the last attention is replaced:
    complete and noisy."""
    model: str = "ViT-B-16-quickgelu"
    """A vision transformer of open_clip's list, or ``local-dir:`` and a folder with its ``open_clip_config.json``."""
    weights: str = "openai"
    """A tag of open_clip's list, fetched beforehand (``wsss fetch``), or the path of a file."""
    templates: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Sentences with ``{}`` for the word; null: ``a clean origami {}.`` for ``grad-cam``, ImageNet's 80 for others."""
    synonyms: dict[str, tuple[str, ...]] = {}
    """Words for a class in place of its name, as in ``{bird: [bird avian]}``. ``grad-cam`` joins them to one text; the
    others take the one that fits a pixel best."""
    background: Words | None = None
    """Words for what is no object: a list's name (voc, coco, natural), or words; null: voc for ``grad-cam``, natural
    for the others. A word that is a word of a class is dropped, and named."""
    too_near: Fraction = 0.9
    """So is one whose text has a cosine above this with a class's."""
    affinity: bool = True
    """For ``grad-cam``: spread the seeds by the attention; false: as they are."""
    affinity_blocks: Count = 8
    """For ``grad-cam``: number of last blocks whose attention is averaged."""
    box_threshold: Fraction = 0.4
    """For ``grad-cam``: cells in boxes around what exceeds this share of a seed's maximum are spread."""
    temperature: Positive = 40.0
    """For the dense methods: factor of the cosines in the softmax; published: 50 for ``clearclip``."""
    sigma: Positive = 5.0
    """For ``naclip``: standard deviation of the preference for near patches, in patches."""
    proxy_backbone: str = "vit_small_patch14_dinov2.lvd142m"
    """For ``proxy``: the timm transformer whose patches say what is alike."""
    proxy_pretrained: bool | str = True
    """For ``proxy``: ``true``: its weights, fetched beforehand (``wsss fetch``); a path; ``false``: random."""
    proxy_beta: Positive = 1.2
    """For ``proxy``: cosines below this multiple of their mean count as unlike."""
    proxy_gamma: Positive = 3.0
    """For ``proxy``: factor of the cosines in the softmax."""
    short_side: Annotated[int, Field(ge=32)] | None = None
    """The shorter side is resized to this many pixels; null: 336 for the dense methods, the image's own size for
    ``grad-cam``."""
    max_side: Annotated[int, Field(ge=32)] = 1024
    """Longest side in pixels that the network sees; memory grows with the square of the number of patches."""
    splits: Splits = ("train", "val")
    """Which images get maps."""

    @model_validator(mode="after")
    def _sentences(self) -> TextCamsSettings:
        for template in self.templates or ():
            if "{}" not in template:
                raise ValueError(f"templates: {template!r} has no {{}} for the word")
        for name, words in self.synonyms.items():
            if not words or not all(word.strip() for word in words):
                raise ValueError(f"synonyms: {name!r} has an empty word, or none")
        return self

    @property
    def background_words(self) -> tuple[str, ...]:
        """The background words that are meant."""
        if self.background is not None:
            return self.background
        return BACKGROUNDS["voc" if self.method == "grad-cam" else "natural"]

    @property
    def files(self) -> tuple[str, ...]:
        """The user's own files that are read."""
        named = [self.weights] if is_file(self.weights) else []
        if self.model.startswith("local-dir:"):
            named.append(f"{self.model.removeprefix('local-dir:')}/open_clip_config.json")
        if self.method == "proxy" and isinstance(self.proxy_pretrained, str):
            named.append(self.proxy_pretrained)
        return tuple(named)

    @property
    def supervision(self) -> tuple[str, ...]:
        """What went in besides the tags, for the tables."""
        proxy = self.method == "proxy" and self.proxy_pretrained
        return ("image-text pairs (CLIP)", *(["images without labels (proxy)"] if proxy else []))
