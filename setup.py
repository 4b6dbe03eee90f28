"""The part of the build that pyproject.toml cannot say: the extension modules in C++ under native/."""

import sys
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from wsss.native import FLAGS, digest, files  # noqa: E402


def extension(name: str) -> Pybind11Extension:
    paths = [str(path.relative_to(ROOT)) for path in files(name, ROOT)]
    return Pybind11Extension(
        name,
        [path for path in paths if path.endswith(".cpp")],
        depends=[*paths, "wsss/native.py"],
        cxx_std=17,
        define_macros=[("WSSS_SOURCE", f'"{digest(name, ROOT)}"')],
        extra_compile_args=list(FLAGS),
    )


setup(ext_modules=[extension(name) for name in ("_wsss_crf", "_wsss_walk")])
