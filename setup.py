"""The parts of the build that pyproject.toml cannot say: the extension modules in C++ under native/, the workflow."""

import sys
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from wsss.provenance.native import FLAGS, MODULES, digest, files  # noqa: E402


def extension(name: str) -> Pybind11Extension:
    paths = [str(path.relative_to(ROOT)) for path in files(name, ROOT)]
    return Pybind11Extension(
        name,
        [path for path in paths if path.endswith(".cpp")],
        depends=[*paths, "wsss/provenance/native.py"],
        cxx_std=17,
        define_macros=[("WSSS_SOURCE", f'"{digest(name, ROOT)}"')],
        extra_compile_args=list(FLAGS),
    )


def workflow() -> list[tuple[str, list[str]]]:
    """What a run needs, laid out as in the checkout, for ``PREFIX/share/wsss``: stages put the library beside them
    first on their path, and hash its text. An editable installation has the checkout itself."""
    if "editable_wheel" in sys.argv:
        return []
    found: dict[str, list[str]] = {"share/wsss": ["Snakefile"]}
    for folder in ("envs", "native", "stages", "workflow", "wsss"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                inside = path.relative_to(ROOT)
                found.setdefault(f"share/wsss/{inside.parent.as_posix()}", []).append(inside.as_posix())
    return list(found.items())


setup(ext_modules=[extension(name) for name in MODULES], data_files=workflow())
