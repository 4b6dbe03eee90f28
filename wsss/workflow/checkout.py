"""Where the checkout lies whose workflow is run."""

from __future__ import annotations

from pathlib import Path

from wsss.provenance.versions import ROOT


def checkout() -> Path | None:
    """The checkout whose stages would run: the working directory, else where this package lies, else the copy that was
    installed with it; None where there is none."""
    for one in (Path.cwd(), ROOT):
        if (one / "stages").is_dir() and (one / "wsss").is_dir():
            return one
    return installed()


def installed() -> Path | None:
    """The workflow that ``pip install`` has put beside the package (``PREFIX/share/wsss``, see ``setup.py``)."""
    from importlib.metadata import PackageNotFoundError, files  # seldom needed

    try:
        known = files("wsss") or []
    except PackageNotFoundError:
        return None
    found = (Path(str(one.locate())).resolve() for one in known if one.as_posix().endswith("share/wsss/Snakefile"))
    return next((snakefile.parent for snakefile in found if snakefile.is_file()), None)
