"""What every stage program shares: arguments, locks, signals, scratch folders, the manifest.

A stage is a program of one shape: read artefact folders, write one artefact folder. It builds a ``Stage``, whose
``main`` calls ``wsss.stages.NAME.make``; the manifest that makes its folder an artefact is written when that ends
without an error. Killed at any moment, it leaves no manifest, hence no artefact.

An artefact that has the identity that is wanted is not made again, and one that has another is kept aside first
(``wsss.provenance.identity``, ``wsss.store.kept``).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from wsss.errors import WsssError
from wsss.provenance import outputs
from wsss.runtime.arguments import read_settings, settings_help
from wsss.runtime.record import run_record
from wsss.runtime.run import Run, read_input
from wsss.runtime.shard import add_flags, locked
from wsss.settings import WITHOUT_EFFECT, Log, Storage, StoredMasksSettings
from wsss.store import kept
from wsss.store.manifest import read_manifest, write_manifest
from wsss.system.cores import available_cores
from wsss.system.exit import orderly, signals
from wsss.system.files import flush_all, write_json
from wsss.system.launch import World, world_of
from wsss.system.log import add_verbosity, log, set_verbosity
from wsss.system.rendezvous import joined


class Stage:
    """The command line of a stage program.

    Args:
        doc: The program's docstring; its text opens ``--help``.
        settings: Class or discriminated union that reads ``--settings``; None for a stage without any.
        inputs: Artefact folders it needs: name to help. Name ``index`` becomes ``--index DIR``.
        optional: Artefact folders it may be given.
        several: Names that stand for a list of artefact folders, which may be left out.
        extra: Further flags: ``{"--kind": {"choices": [...]}}``, as for ``ArgumentParser.add_argument``.
        paths: Names of further flags that only say where something lies; the others change the result.
        scattered: Jobs may share its images (see ``wsss.runtime.shard``).
        distributed: A training: processes that work at the same time may share it (see ``wsss.system.launch``), and it
            can log its curves (see ``wsss.training.loggers``).
    """

    def __init__(
        self,
        doc: str | None,
        settings: Any = None,
        inputs: dict[str, str] | None = None,
        optional: dict[str, str] | None = None,
        several: dict[str, str] | None = None,
        extra: dict[str, dict[str, Any]] | None = None,
        paths: tuple[str, ...] = (),
        scattered: bool = False,
        distributed: bool = False,
    ) -> None:
        self.settings, self.scattered, self.distributed = settings, scattered, distributed
        self.flags = [name for flag in extra or {} if (name := flag.removeprefix("--")) not in paths]
        self.inputs, self.optional, self.several = inputs or {}, optional or {}, several or {}
        self.parser = argparse.ArgumentParser(
            description=doc, epilog=settings_help(settings), formatter_class=argparse.RawDescriptionHelpFormatter
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
            change = "one setting, as in --set lr=0.1 or --set crf.iterations=5; goes before --settings; repeatable"
            add("--set", action="append", default=[], metavar="KEY=VALUE", help=change)
        add("--seed", type=int, default=0, help="seed of every random draw (default 0)")
        cores = "cores it may use, with all its processes (default: all that were given to it)"
        add("--threads", type=int, default=available_cores(), metavar="N", help=cores)
        add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where networks run (default: auto)")
        add_verbosity(self.parser)
        if scattered:
            add_flags(self.parser)
        if distributed:
            add(
                "--log",
                choices=get_args(Log),
                help="also log the training there (default: the setting 'log')",
            )
            where = "disk of this machine for copies of the images (default: the setting 'stage_to')"
            add("--stage-to", metavar="DIR", help=where)
        if self.stores_masks:
            add("--storage", choices=get_args(Storage), help="how masks are stored (default: the setting 'storage')")
        for flag, options in (extra or {}).items():
            add(flag, **options)

    @property
    def stores_masks(self) -> bool:
        """Whether it writes a mask for each image."""
        return isinstance(self.settings, type) and issubclass(self.settings, StoredMasksSettings)

    def main(self, argv: list[str] | None = None, work: Callable[[Run], None] | None = None) -> None:
        """Parse arguments, check inputs, lock the artefact, do the work, and write the manifest (of a share, the
        receipt); do nothing where the artefact is what is wanted already.

        Ends the process in order after an error or a signal, see ``wsss.system.exit``.
        """
        started = time.time()
        # before torch is imported: threads that spin while they wait slow down two programs on the same cores manyfold
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        args = self.parser.parse_args(argv)
        set_verbosity(args)
        with orderly(self.parser.prog, args.out):
            world = self._world(args)
            with joined(world, lambda: _backend(args.device)):
                run = Run(args, self._read_settings(args), self._open_inputs(args), Path(self.parser.prog).stem, world)
                run.flags = {name: str(value) for name in self.flags if (value := getattr(args, name)) is not None}
                with contextlib.ExitStack() as stack:
                    if world.rank == 0:
                        stack.enter_context(locked(run.out, run.shard))
                    stack.enter_context(signals(run))
                    log.debug("%s: identity %s, inputs %s", run.out, run.identity, run.about["inputs"])
                    if not self._is_needed(run):
                        return
                    (work or self._work(run))(run)
                    if world.rank == 0:  # the first one writes
                        self._declare(run, started)

    @staticmethod
    def _work(run: Run) -> Callable[[Run], None]:
        """``wsss.stages.NAME.make``, of the program's own name; imported late, for what it needs takes time to load."""
        make: Callable[[Run], None] = import_module(f"wsss.stages.{run.stage}").make
        return make

    @staticmethod
    def _is_needed(run: Run) -> bool:
        """``run.is_needed``, asked by the first of several processes and heard by all."""
        if run.world.size == 1:
            return run.is_needed()
        from wsss.compute.collectives import all_reduce_max
        from wsss.compute.devices import choose_device

        answer = float(run.is_needed()) if run.world.rank == 0 else 0.0
        return bool(all_reduce_max([answer], choose_device(run.args.device))[0])

    def _declare(self, run: Run, started: float) -> None:
        """What makes a folder an artefact, or a share done."""
        flush_all(run.out)  # a power cut must not leave a manifest beside half a file
        record = {**run_record(run.args, started), **run.recorded}
        if run.shard is not None:
            write_json(run.shard.receipt(run.out), {**record, **run.facts, "key": run.identity})
            return
        inputs = {}
        for name, folder in run.named.items():
            made = read_input(folder)
            known = {key: made[key] for key in ("identity", "content") if made.get(key) is not None}
            inputs[name] = {"path": os.path.relpath(folder, run.out), **known}
        digests = {
            name: run.digests.get(name) or outputs.digest(run.out / name)
            for name in outputs.outputs_of(run.stage, run.out)
            if run.strangers.get(name) != outputs.stamp(run.out / name)
        }
        whole = None if run.settings is None else run.settings.model_dump(mode="json", exclude=set(WITHOUT_EFFECT))
        manifest = {
            **run.about,
            "identity": run.identity,
            "settings": whole,
            "inputs": inputs,
            **run.facts,
            "outputs": digests,
            "content": outputs.content(digests),
        }
        write_manifest(run.out, manifest, record)
        kept.drop_twin(run.out, manifest)
        shutil.rmtree(run.out / outputs.PARTS, ignore_errors=True)
        for path in (*run.leftovers, run.out / kept.AGAIN):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def _world(self, args: argparse.Namespace) -> World:
        """The processes of this run, who share the cores of their machine."""
        world = world_of(os.environ)
        if world.size > 1 and not self.distributed:
            cure = "give each job its share by --shard I/N, or start one" if self.scattered else "start one"
            raise WsssError(
                f"this stage runs as one process, but {world.size} were started together; {cure} (srun --ntasks=1, "
                "without torchrun)"
            )
        args.threads = max(1, args.threads // world.local_size)
        return world

    def _read_settings(self, args: argparse.Namespace) -> Any:
        if self.settings is None:
            return None
        settings = read_settings(self.settings, args.settings, args.set)
        given = {
            name: value for name in ("log", "stage_to", "storage") if (value := getattr(args, name, None)) is not None
        }
        return settings.model_copy(update=given)

    def _open_inputs(self, args: argparse.Namespace) -> dict[str, Path]:
        folders = {name: getattr(args, name) for name in {**self.inputs, **self.optional}}
        for name in self.several:
            folders |= {f"{name}.{n}": folder for n, folder in enumerate(getattr(args, name) or ())}
        for folder in (one for one in folders.values() if one is not None):
            made = read_manifest(folder)
            changed = outputs.altered(folder, made.get("outputs") or {})
            if changed is not None:
                raise WsssError(
                    f"{folder / changed}: it no longer holds what was written (its digest is not the manifest's): a "
                    f"disk or somebody changed it; wsss run --again {made.get('stage')}:{folder.name} makes it anew"
                )
        return {name: folder for name, folder in folders.items() if folder is not None}


def _backend(device: str) -> str:
    """How the processes of a training speak to each other."""
    from wsss.compute.devices import choose_device

    return "nccl" if choose_device(device).type == "cuda" else "gloo"
