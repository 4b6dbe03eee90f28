"""What every stage program shares: arguments, locks, signals, scratch folders, the manifest.

A stage is a program of one shape: read artefact folders, write one artefact folder. It opens a ``Stage``, works
inside ``with stage.run() as run:``, and the manifest that makes its folder an artefact is written when the block ends
without an error. Killed at any moment, it leaves no manifest, hence no artefact.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

from wsss import __version__
from wsss.ending import Interrupted as Interrupted
from wsss.ending import orderly, signals
from wsss.errors import WsssError
from wsss.identity import identity
from wsss.launch import Team, joined, team_of
from wsss.settings import WITHOUT_EFFECT, Log, Settings, classes_of, default_variant
from wsss.sharing import PARTS, Share, add_flags, locked
from wsss.store.manifest import NAME, digest, flush_all, read_manifest, replace_folder, sweep, write_json
from wsss.wording import check, dotted, listed, nearest

LIBRARIES = ("torch", "timm", "segmentation-models-pytorch", "numpy", "pillow", "pydensecrf2", "h5py")


def say(message: str) -> None:
    """One line of progress on stderr."""
    print(message, file=sys.stderr, flush=True)


class Run:
    """One run of a stage; see ``Stage.run``.

    Attributes:
        settings: The typed settings.
        args: All arguments (``seed``, ``threads``, ``device`` and what the stage added).
        inputs: Name to artefact folder, for those given; those of a list are called ``NAME.0``, ``NAME.1``, ...
        stage: Name of the stage's program, without suffix.
        out: The artefact folder.
        share: The share of the images that this job makes; None: all of the artefact.
        stop: Name of the signal that asked to stop, or None.
        leftovers: Files that are of no use once the artefact is whole; they are deleted then.
        team: The processes of this run; only the first one writes.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        settings: Any,
        inputs: dict[str, Path],
        stage: str = "",
        team: Team | None = None,
    ) -> None:
        self.args, self.settings, self.inputs, self.stage = args, settings, inputs, stage
        self.team = team or Team()
        self.out: Path = args.out
        self.share: Share | None = getattr(args, "shard", None)
        self.stop: str | None = None
        self.facts: dict[str, Any] = {}
        self.leftovers: list[Path] = []

    def several(self, name: str) -> list[Path]:
        """The folders of a list, in the order they were given."""
        return [folder for key, folder in self.inputs.items() if key.rpartition(".")[0] == name]

    def note(self, **facts: Any) -> None:
        """Add facts to the manifest (``images=1625``)."""
        self.facts.update(facts)

    @cached_property
    def state(self) -> Path:
        """The folder for checkpoints, made when it is first asked for."""
        folder: Path = self.args.state or self.out / "state"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def sweep(self) -> None:
        """Delete what killed runs left half written."""
        for folder in {self.out, self.args.state or self.out / "state"}:
            sweep(folder)

    @contextlib.contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """Yield an empty scratch folder that becomes ``out/name`` when the block succeeds."""
        scratch = self.out / f".{name}.tmp"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        try:
            yield scratch
            replace_folder(scratch, self.out / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


class Stage:
    """The command line of a stage program.

    Args:
        doc: The program's docstring; its text opens ``--help``.
        settings: Class or discriminated union that reads ``--settings``; None for a stage without any.
        inputs: Artefact folders it needs: name to help. Name ``index`` becomes ``--index DIR``.
        optional: Artefact folders it may be given.
        several: Names that stand for a list of artefact folders, which may be left out.
        extra: Further flags: ``{"--kind": {"choices": [...]}}``, as for ``ArgumentParser.add_argument``.
        scattered: Jobs may share its images (see ``wsss.sharing``).
        team: A training: processes that work at the same time may share it (see ``wsss.launch``), and it can log its
            curves (see ``wsss.loggers``).
    """

    def __init__(
        self,
        doc: str | None,
        settings: Any = None,
        inputs: dict[str, str] | None = None,
        optional: dict[str, str] | None = None,
        several: dict[str, str] | None = None,
        extra: dict[str, dict[str, Any]] | None = None,
        scattered: bool = False,
        team: bool = False,
    ) -> None:
        self.settings, self.scattered, self.team = settings, scattered, team
        self.inputs, self.optional, self.several = inputs or {}, optional or {}, several or {}
        self.parser = argparse.ArgumentParser(
            description=doc, epilog=_settings_help(settings), formatter_class=argparse.RawDescriptionHelpFormatter
        )
        add = self.parser.add_argument
        add("--out", type=Path, required=True, metavar="DIR", help="artefact folder to write")
        add("--state", type=Path, metavar="DIR", help="folder for checkpoints (default: OUT/state)")
        for name, text in {**self.inputs, **self.optional, **self.several}.items():
            flag = "--" + name.replace("_", "-")
            count = {"nargs": "+"} if name in self.several else {}
            add(flag, type=Path, required=name in self.inputs, metavar="DIR", help=text, **count)
        if settings is not None:
            add("--settings", default="{}", metavar="JSON|FILE", help="settings: a JSON object, or a JSON or YAML file")
        add("--seed", type=int, default=0, help="seed of every random draw (default 0)")
        cores = "cores of this machine it may use, with all its processes (default: all)"
        add("--threads", type=int, default=os.cpu_count(), metavar="N", help=cores)
        add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where networks run (default: auto)")
        if scattered:
            add_flags(self.parser)
        if team:
            add(
                "--log",
                choices=get_args(Log),
                help="also log the training there (default: the setting 'log')",
            )
        for flag, options in (extra or {}).items():
            add(flag, **options)

    @contextlib.contextmanager
    def run(self, argv: list[str] | None = None) -> Iterator[Run]:
        """Parse arguments, check inputs, lock the artefact; write the manifest at the end, or the receipt of a share.

        Ends the process in order after an error or a signal, see ``wsss.ending``.
        """
        started = time.time()
        # before torch is imported: threads that spin while they wait slow down two programs on the same cores manyfold
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        args = self.parser.parse_args(argv)
        with orderly(self.parser.prog, args.out):
            team = self._team(args)
            with joined(team, args.device):
                run = Run(args, self._read_settings(args), self._open_inputs(args), Path(self.parser.prog).stem, team)
                if team.rank:  # the first one writes
                    with signals(run):
                        yield run
                    return
                with locked(run.out, run.share), signals(run):
                    done = run.out / NAME if run.share is None else run.share.receipt(run.out)
                    done.unlink(missing_ok=True)
                    if run.share is None:
                        run.sweep()
                    made_by = identity(run.stage, run.settings, run.args.seed)  # now: it may be edited while this runs
                    yield run
                    flush_all(run.out)  # a power cut must not leave a manifest beside half a file
                    write_json(done, self._facts(run, started, made_by))
                    if run.share is None:
                        shutil.rmtree(run.out / PARTS, ignore_errors=True)
                    for path in run.leftovers:
                        path.unlink(missing_ok=True)

    def _team(self, args: argparse.Namespace) -> Team:
        """The processes of this run, who share the cores of their machine."""
        team = team_of(os.environ)
        if team.size > 1 and not self.team:
            cure = "give each job its share by --shard I/N, or start one" if self.scattered else "start one"
            raise WsssError(
                f"this stage runs as one process, but {team.size} were started together; {cure} (srun --ntasks=1, "
                "without torchrun)"
            )
        args.threads = max(1, args.threads // team.local_size)
        return team

    def _read_settings(self, args: argparse.Namespace) -> Any:
        if self.settings is None:
            return None
        text = args.settings.strip()
        if not text.startswith("{"):
            try:
                text = Path(text).read_text(encoding="utf-8")
            except OSError as error:
                raise WsssError(f"--settings {args.settings}: neither a JSON object nor a readable file") from error
        import yaml

        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise WsssError(f"--settings: neither JSON nor YAML: {error}") from error
        if not isinstance(values, dict):
            raise WsssError(f"--settings must be a mapping, not {type(values).__name__}")
        key, classes = classes_of(self.settings)
        if (usual := default_variant(self.settings)) is not None:
            values = {key: usual, **values}
        chosen = "" if key is None else values.get(key)
        if chosen not in classes:
            given = "missing" if chosen is None else f"unknown {key} {chosen!r}{nearest(chosen, classes)}"
            raise WsssError(f"--settings: {key}: {given} (allowed: {listed(classes)})")
        settings, problems = check(classes[chosen], values)
        if problems:
            lines = [f"--settings: {dotted(path)}: {sentence}" for path, sentence in problems]
            raise WsssError("\n  ".join(lines))
        log = getattr(args, "log", None)
        return settings if log is None else settings.model_copy(update={"log": log})

    def _open_inputs(self, args: argparse.Namespace) -> dict[str, Path]:
        folders = {name: getattr(args, name) for name in {**self.inputs, **self.optional}}
        for name in self.several:
            folders |= {f"{name}.{n}": folder for n, folder in enumerate(getattr(args, name) or ())}
        for folder in folders.values():
            if folder is not None:
                read_manifest(folder)
        return {name: folder for name, folder in folders.items() if folder is not None}

    def _facts(self, run: Run, started: float, made_by: dict[str, str]) -> dict[str, Any]:
        versions = {"wsss": __version__, "python": platform.python_version()}
        for name in LIBRARIES:
            with contextlib.suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name)
        settings, shards = None, getattr(run.args, "gather", 1)
        if run.settings is not None:
            settings = run.settings.model_dump(mode="json", exclude=set(WITHOUT_EFFECT))
        return {
            "stage": run.stage,
            "settings": settings,
            "seed": run.args.seed,
            "inputs": {
                n: {"path": os.path.relpath(p, run.out), "digest": digest(p / NAME)} for n, p in run.inputs.items()
            },
            **run.facts,
            **({"shards": shards} if shards > 1 else {}),
            **made_by,
            "versions": versions,
            "device": run.facts.get("device") or _device_name(run.args.device),
            "threads": run.args.threads,
            "wall_seconds": round(time.time() - started, 2),
            "peak_memory_mib": round(_most_memory() / 1024),
            **_gpu_memory(),
            "made": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }


def _most_memory() -> int:
    """Most memory that this process or one of its children held, in KiB."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(OSError, StopIteration):  # on Linux the figure above counts what its parent held, too
        lines = Path("/proc/self/status").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def _gpu_memory() -> dict[str, int]:
    """Most memory that was held on the GPU, in MiB; nothing where none was used."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return {}
    return {"peak_gpu_memory_mib": round(torch.cuda.max_memory_reserved() / 2**20)}


def _device_name(device: str) -> str:
    torch = sys.modules.get("torch")
    if torch is not None and device != "cpu" and torch.cuda.is_available():
        name: str = torch.cuda.get_device_name()
        return name
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _settings_help(settings: Any) -> str | None:
    """The table of settings that closes ``--help``."""
    if settings is None:
        return None
    lines = []
    for cls in classes_of(settings)[1].values():
        lines.append(f"\nsettings ({cls.__name__}):")
        for name, field in cls.model_fields.items():
            if field.is_required():
                default = "required"
            else:
                value = field.get_default(call_default_factory=True)
                default = json.dumps(value.model_dump(mode="json") if isinstance(value, Settings) else value)
            lines.append(f"  {name} = {default}")
            bases = [base for base in cls.__mro__[1:] if issubclass(base, Settings) and name in base.model_fields]
            text = field.description or next((base.model_fields[name].description for base in bases), None)
            lines += [f"      {part}" for part in (text or "").splitlines()]
    return "\n".join(lines)
