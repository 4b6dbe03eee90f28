"""The site builds without a warning, needs nothing from elsewhere, and has what it promises."""

from __future__ import annotations

import importlib.util
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

from wsss.explain.methods import find

ROOT = Path(__file__).resolve().parents[2]
LOADS = {"src", "srcset", "poster", "data"}
"""Attributes whose file a browser fetches by itself; so it does with a ``<link href>``."""


class Page(HTMLParser):
    """What a page loads, where it leads, and its ids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.leads: list[str] = []
        self.ids: set[str] = set()
        self.text = path.read_text("utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif value and (name in LOADS or (name == "href" and tag == "link")):
                self.loads.append(value)
            elif value and name == "href" and tag == "a":
                self.leads.append(value)


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    outside = {url for page in pages.values() for url in page.loads if re.match(r"(https?:)?//", url)}
    styles = [path.read_text("utf-8") for path in site.rglob("*.css")]
    outside |= {url for text in styles for url in re.findall(r"(?:url\(|@import )['\"]?((?:https?:)?//[^'\")]+)", text)}
    assert not outside


def test_what_is_loaded_or_linked_is_there(pages: dict[Path, Page], site: Path) -> None:
    dead = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are meant from the root of a server
            continue
        for url in page.loads + page.leads:
            parts = urlsplit(url)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (parts.fragment and parts.fragment not in pages[target].ids):
                dead.append(f"{path.relative_to(site)}: {url}")
    assert not dead


def test_formulas_are_drawn_by_the_browser(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        if path.parent.name == "how" and path.name not in ("chain.html", "heatmaps.html", "index_stage.html"):
            assert '<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">' in page.text, path.name
        shown = re.sub(r"<(pre|code|script)\b.*?</\1>", "", page.text, flags=re.S)
        assert "$`" not in page.text and "$<code>" not in page.text, path.name
        assert not re.search(r"\\(frac|sum|mathrm|left)\b", shown), f"{path.name}: LaTeX that stayed as it is"


def test_a_page_opened_from_a_disk_can_search(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        up = "../" * (len(path.relative_to(site).parts) - 1)
        assert f'<script src="{up}worker.js"></script>' in page.text or path.name == "404.html", path.name
    assert (site / "search/search_index.js").is_file()


def test_every_setting_stands_in_the_reference(pages: dict[Path, Page], site: Path) -> None:
    from wsss.config.tables import families
    from wsss.settings import KINDS, classes_of

    text = pages[site / "settings.html"].text
    for kind in KINDS.values():
        for cls in families(classes_of(kind)[1].values()):
            assert not [n for n in cls.model_fields if not re.search(f"<code>{n}(</code>|: )", text)], cls


def test_every_public_module_stands_in_the_api(pages: dict[Path, Page], site: Path) -> None:
    for name in ("wsss.refine.crf.DenseCRF.infer", "wsss.store.maps.MapStore.full", "wsss.evaluate.confusion.metrics"):
        assert name in pages[site / f"api/{name.split('.')[1]}.html"].ids
    explain = pages[site / "api/explain.html"]
    for path in (ROOT / "wsss/explain/methods").glob("[a-z]*.py"):
        name = find(path.stem.replace("_", "-")).__name__
        assert f"wsss.explain.methods.{path.stem}.{name}" in explain.ids
    assert ":class:" not in explain.text and "====" not in pages[site / "api/store.html"].text


def test_results_are_those_of_the_benchmarks(pages: dict[Path, Page], site: Path) -> None:
    titles = re.findall(r"^## (.+)$", (ROOT / "benchmarks/RESULTS.md").read_text("utf-8"), re.M)
    assert titles and all(title.split(" (")[0] in pages[site / "results.html"].text for title in titles)


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("mkdocs", reason="the site needs mkdocs: pip install '.[docs]'")
    pytest.importorskip("latex2mathml", reason="the site needs latex2mathml: pip install '.[docs]'")
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/hooks.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "site_hooks", module)
    spec.loader.exec_module(module)
    return module


def test_formulas_in_a_line_and_in_code(hooks: ModuleType) -> None:
    import markdown

    made = markdown.markdown("a $`x^2`$ b, `$x$` and $5", extensions=[hooks.Formulas()])
    assert "<msup>" in made and made.count("<math") == 1
    assert "<code>$x$</code> and $5" in made


def test_a_command_that_cannot_be_drawn_is_refused(hooks: ModuleType) -> None:
    from mkdocs.exceptions import PluginError

    with pytest.raises(PluginError, match="latex2mathml does not know: .nonsense x"):
        hooks.mathml(r"\nonsense x", "inline")


def test_docstrings_become_markdown() -> None:
    pytest.importorskip("griffe", reason="the site needs mkdocstrings: pip install '.[docs]'")
    spec = importlib.util.spec_from_file_location("site_docstrings", ROOT / "docs/docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = "===  =====\n``x``  of a\ny    b | c\n===  ====="
    text = f"Use it::\n\n    a = 1\n\n    b = 2\n\nRaises :class:`E`.\n\n{table}\n\nEnd."
    made = module.markdown(text).splitlines()
    assert made[:8] == ["Use it:", "", "```python", "a = 1", "", "b = 2", "```", ""]
    assert "Raises `E`." in made and made[-1] == "End."
    assert "| y | b \\| c |" in made
