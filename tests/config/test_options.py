"""config/README.md tells of every block and every key."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from wsss.config.loader import KEYS, load
from wsss.config.tables import MARK, main, tables
from wsss.settings import KINDS, classes_of

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "config" / "README.md"


def test_tables_are_those_of_the_settings(tmp_path: Path) -> None:
    """Where this fails: ``python -m wsss.config.tables config/README.md``."""
    assert README.read_text(encoding="utf-8").split(MARK)[1].strip() == tables().strip()
    copy = tmp_path / "README.md"
    copy.write_text(f"# Mine\n\n{MARK}\n\nold tables\n")
    main([str(copy)])
    assert copy.read_text() == f"# Mine\n\n{MARK}\n\n{tables()}"


def test_every_key_of_every_recipe_has_a_row() -> None:
    sections = dict(re.findall(r"^#### (.*?)\n(.*?)(?=^###|\Z)", tables(), re.M | re.S))
    for kind in KINDS.values():
        key, classes = classes_of(kind)
        for value, cls in classes.items():
            title = f"`{key}: {value}`" if key else cls.__name__
            further = re.search(r"Further keys: (.*)\.\n", sections[title])
            told = sections[title] + "".join(sections[one] for one in (further[1].split(", ") if further else ()))
            rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", told, re.M))
            assert set(cls.model_fields) - {key} <= set(rows), title
            assert all(row.rsplit(" | ", 1)[1].rstrip(" |") for row in rows.values()), (
                title,
                "a key without a meaning",
            )


def test_blocks_are_explained_and_the_example_is_well_formed() -> None:
    text = README.read_text(encoding="utf-8").split(MARK)[0]
    explained = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", text, re.M))))
    assert explained == set(KEYS)
    example = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.S)[1])
    assert load(example).recipes["classifiers"]["mine"].epochs == 10


def test_catalogue_file() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"]["conda"] is True and usage["report"] is True
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    assert "conda:" in rules and "container:" not in rules
