"""wsss: from images with tags to pixel masks (weakly supervised semantic segmentation).

``wsss.load(folder).predict(photo)`` applies a trained network, ``wsss.run(config)`` trains one; see
``wsss.interfaces.door``. Both are imported when they are first asked for, so that the command line starts at once;
their types stand in ``__init__.pyi``.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["Network", "Prediction", "WsssError", "__version__", "load", "run"]

_PLACES = {"WsssError": "wsss.errors"} | dict.fromkeys(("Network", "Prediction", "load", "run"), "wsss.interfaces.door")


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'wsss' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
