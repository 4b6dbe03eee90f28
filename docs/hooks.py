"""What mkdocs needs beside the pages: those that are made of the code, and formulas as MathML.

``settings.md`` is made from the settings classes, ``results.md`` is ``benchmarks/RESULTS.md``, and ``api/*.md`` list
the public modules of a package. Formulas stand in Markdown as GitHub reads them, a block ``math`` or ``$`x`$`` in a
line, and become MathML here: browsers draw it without a script.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "explain": "Explanations of classifiers and segmentation networks, and what they are worth.",
    "beyond": "What explanations are good for, and whether they can be trusted.",
    "refine": "From CAMs to pseudo-labels: dense CRF, random walk, affinity labels, ensembles and votes.",
    "store": "Files of maps, masks and weights, and the manifests that make a folder an artefact.",
    "evaluate": "Confusion matrices, thresholds and scores.",
    "losses": "Terms of training losses, as functions of tensors.",
    "objectives": "Training objectives: which networks there are, and which losses they follow.",
    "training": "The training loop, checkpoints, optimisers and loggers.",
    "inference": "Trained networks applied to images.",
    "models": "Networks, and how they are built from their descriptions.",
}
"""Packages whose modules are described, and what they are for."""
SHIM = re.compile(r'<script src="https://[^"]*iframe-worker[^"]*"></script>')
"""What the theme would fetch from elsewhere so that search works on pages that are opened from a disk."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let Markdown know formulas."""
    fence = {"name": "math", "class": "math", "format": lambda source, *_, **__: mathml(source, "block")}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    config.markdown_extensions.append(Formulas())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of the code."""
    made = {"settings.md": settings(), "results.md": results()}
    made |= {f"api/{name}.md": modules(name) for name in PACKAGES}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Take the site's own script in place of one from elsewhere."""
    return SHIM.sub(f'<script src="{"../" * page.url.count("/")}worker.js"></script>', output)


def on_post_template(output: str, template_name: str, config: MkDocsConfig) -> str:
    """The page for what is not found is a server's, where search needs no help."""
    return SHIM.sub("", output)


def settings() -> str:
    """``config/README.md``, its tables made anew."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from wsss.config.tables import MARK, tables

    return (ROOT / "config/README.md").read_text("utf-8").split(MARK)[0] + tables()


def results() -> str:
    """``benchmarks/RESULTS.md``."""
    return (ROOT / "benchmarks/RESULTS.md").read_text("utf-8")


def modules(package: str) -> str:
    """A page with all public modules of a package; one that defines nothing itself is left out."""
    parts = [f"# wsss.{package}\n\n{PACKAGES[package]}"]
    for path in sorted((ROOT / "wsss" / package).rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if re.search(r"^(def|class) ", path.read_text("utf-8"), re.M) and "._" not in name:
            parts.append(f"::: {name}")
    return "\n\n".join(parts) + "\n"


def mathml(source: str, display: str) -> str:
    """LaTeX as MathML; ``display`` is ``block`` or ``inline``. Raises ``PluginError`` for commands that the converter
    does not know, which it leaves as they are."""
    made = convert(source.strip(), display=display)
    if "\\" in made:
        raise PluginError(f"this formula has a command that latex2mathml does not know: {source.strip()}")
    return f'<div class="formula">{made}</div>' if display == "block" else made


class Formulas(Extension):
    """Formulas in a line: LaTeX between ``$``` and ```$``."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - the library's name
        """Register the pattern above that of code."""
        md.inlinePatterns.register(_Formula(r"\$`([^`]+)`\$", md), "formula", 195)


class _Formula(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> Any:  # noqa: N802 - the library's name
        return self.md.htmlStash.store(mathml(m[1], "inline")), m.start(0), m.end(0)
