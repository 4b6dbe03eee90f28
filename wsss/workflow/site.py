"""How a cluster is asked for GPUs.

A site says it once, in its profile: ``gpu_model: a100`` or ``gres: gpu`` under ``default-resources``. To the executor
these defaults would mean a GPU for every job; here they only say how to ask, and each job says for how many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsss.errors import WsssError

GPU = "gpu"


@dataclass(frozen=True)
class Site:
    """What a profile says of a cluster's GPUs.

    Attributes:
        cluster: Whether jobs go to a cluster at all; on one machine the rest does not count.
        gres: What ``--gres`` is given: ``gpu`` or ``gpu:MODEL``, to which each job adds its number; something else is
            given as it stands, for every job. None: GPUs are asked for by ``--gpus``.
        model: The model of GPU that jobs want; None: any.
    """

    cluster: bool = False
    gres: str | None = None
    model: str | None = None

    @classmethod
    def read(cls, cluster: bool, defaults: Mapping[str, Any] | None) -> Site:
        """From Snakemake's default resources.

        Raises:
            WsssError: A number of GPUs in ``gres``: it is each job's own.
        """
        given = {name: _text(defaults, name) for name in ("gres", "gpu_model")}
        gres, model = given["gres"], given["gpu_model"]
        words = (gres or "").split(":")
        if words[0] == GPU and (len(words) > 2 or words[-1].isdigit() or not words[-1]):
            raise WsssError(
                f"default-resources: gres: {gres!r} in the profile: write {GPU} or {GPU}:MODEL; each job adds how many"
            )
        return cls(cluster, gres, model)

    @property
    def by_gres(self) -> bool:
        """Whether GPUs are asked for by ``--gres``."""
        return self.cluster and self.gres is not None and self.gres.split(":")[0] == GPU

    def gres_of(self, gpus: int, nodes: int) -> str | None:
        """What a job gives ``--gres`` that wants ``gpus`` on each of ``nodes``. Of several nodes each has to have as
        many, which ``--gpus`` does not promise.

        Raises:
            WsssError: ``--gres`` is taken by something else, and several nodes are asked for.
        """
        if not self.cluster:
            return None
        if not self.by_gres and self.gres is not None:
            if nodes > 1 and gpus:
                raise WsssError(
                    f"default-resources: gres: {self.gres!r} in the profile: a training over several nodes asks for "
                    "its GPUs by --gres; take that line away for it"
                )
            return self.gres
        if not gpus or not (self.by_gres or nodes > 1):
            return None
        kind = self.gres or GPU
        return f"{kind}:{self.model}:{gpus}" if self.model and ":" not in kind else f"{kind}:{gpus}"

    def gpus_of(self, gpus: int, nodes: int) -> int:
        """What a job gives ``--gpus``; Snakemake itself counts these on one machine."""
        return 0 if self.cluster and (self.by_gres or nodes > 1) else gpus

    def model_of(self, gpus: int, nodes: int) -> str | None:
        """The model that goes with ``--gpus``."""
        return self.model if self.cluster and self.gpus_of(gpus, nodes) else None


def _text(defaults: Mapping[str, Any] | None, name: str) -> str | None:
    """A default as it was written; Snakemake would evaluate it for each job."""
    given = None if defaults is None else defaults.get(name)
    given = getattr(given, "raw", given)
    return None if given is None else str(given).strip("'\" ") or None
