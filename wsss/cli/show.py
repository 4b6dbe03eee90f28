"""``wsss show``: how an artefact was made, whether it is stale, and the commands that make it again."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from wsss.cli.flags import add_configfile
from wsss.cli.reproduce import snakemake_command, stage_command, why_not
from wsss.errors import WsssError
from wsss.provenance.outputs import digest
from wsss.provenance.versions import ROOT
from wsss.report.provenance import supervision
from wsss.steps import STEPS
from wsss.store.artefact import Artefact, find, load
from wsss.text import count, duration, memory, nice, pairs, wrapped
from wsss.workflow.chain import Chain
from wsss.workflow.checkout import checkout
from wsss.workflow.remarks import remarks
from wsss.workflow.staleness import AGAIN, Staleness
from wsss.workflow.values import counted, every, literal, own


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss show``."""
    add_configfile(parser)
    parser.add_argument("path", type=Path, metavar="PATH", help="an artefact's folder, or anything inside it")
    parser.add_argument("--all", action="store_true", help="all settings, not only those that differ from the defaults")
    parser.add_argument("--verify", action="store_true", help="read all its files: are they those that were made?")


TOLD = {
    *("stage", "identity", "declared", "settings", "seed", "flags", "files", "inputs", "images", "dropped", "outputs"),
    *("content", "versions", "device", "threads", "host", "code", "accepted", "adopted"),
    *("wall_seconds", "peak_memory_mib", "peak_gpu_memory_mib", "made", "dataset"),
    *("shards", "shard_seconds", "shard_memory_mib"),
}
"""Keys of a manifest that have a line of their own; the rest is what the stage noted."""


MOST = 10
"""Lines of a list that is cut short."""


def show(args: argparse.Namespace) -> int:
    """Print all about ``args.path``. Raises ``WsssError`` where it is no artefact."""
    made = find(args.path)
    chain, problem = None, ""
    try:
        chain = Chain.read(args.configfile)
    except WsssError as error:
        if args.configfile:
            raise
        problem = str(error)
    print("\n".join(_lines(made, chain, problem, args.all)))
    if args.verify:
        print("\n".join(["", *_verified(made)]))
    return 0


def _verified(made: Artefact) -> Iterator[str]:
    """Whether the files are those that the manifest tells of."""
    wanted = made.manifest.get("outputs", {})
    other = [name for name, digest in wanted.items() if _digest(made.folder / name) != digest]
    if not wanted:
        yield "files: the manifest does not tell their digests"
    elif not other:
        yield f"files: {count(len(wanted), 'output')}, all as they were made"
    for name in other:
        gone = "is gone" if not (made.folder / name).exists() else "is not the one that was made (damaged, or changed)"
        again = f"{made.stage}:{made.folder.name}" if made.stage in STEPS else made.stage
        yield from wrapped(f"files: {name} {gone}; wsss run --again {again} makes it anew", "", "  ")


def _digest(path: Path) -> str | None:
    try:
        return digest(path)
    except OSError:
        return None


def _lines(made: Artefact, chain: Chain | None, problem: str, everything: bool) -> Iterator[str]:
    judge = Staleness(chain, checkout())
    stale = judge.stale([made.folder])
    yield made.title
    yield from pairs(_facts(made))
    yield ""
    yield from _state(made, judge, stale, problem)
    yield ""
    yield from _settings(made, everything)
    if noted := {key: literal(value) for key, value in made.manifest.items() if key not in TOLD}:
        yield "found on the way"
        yield from pairs(noted)
        yield ""
    yield from _tree(made, stale)
    if warnings := list(_warnings(made)):
        yield "mind"
        for warning in warnings:
            yield from wrapped(warning, "  - ")
        yield ""
    yield from _commands(made, chain)


def _facts(made: Artefact) -> dict[str, str]:
    about = made.manifest
    peak = f"at most {memory(about.get('peak_memory_mib'))}"
    if "peak_gpu_memory_mib" in about:
        peak += f", on the GPU {memory(about['peak_gpu_memory_mib'])}"
    threads = f", {count(about['threads'], 'thread')}" if "threads" in about else ""
    facts = {
        "stage": made.stage,
        "seed": str(about.get("seed", "unknown")),
        "images": images(about),
        "supervision": ", ".join(supervision(made.folder)),
        "made": f"{str(about.get('made', 'unknown')).replace('T', ' ')}",
        "device": f"{about.get('device', 'unknown')}{threads}",
        "took": f"{duration(about.get('wall_seconds'))}, {peak}",
        "before that": shards(about),
        "versions": ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items()),
        "identity": " ".join([about.get("identity", "none (made before there were any)"), *declared(about)]),
        "holds": f"{count(len(about.get('outputs', ())), 'file or folder')}, content {about.get('content', 'unknown')}",
        "your files": about.get("files") or "",
    }
    return {name: text for name, text in facts.items() if text}


def declared(manifest: dict[str, Any]) -> list[str]:
    """``["(classifier 1, training 2)"]``, or nothing."""
    versions = [f"{name} {version}" for name, version in manifest.get("declared", {}).items()]
    return [f"({', '.join(versions)})"] if versions else []


def shards(manifest: dict[str, Any]) -> str:
    """``3 shards of 10 to 12 s, each at most 814 MiB``, or nothing."""
    if "shards" not in manifest:
        return ""
    seconds = [duration(one) for one in sorted(manifest.get("shard_seconds", ()))]
    took = f" of {' to '.join(dict.fromkeys((seconds[0], seconds[-1])))}" if seconds else ""
    return f"{manifest['shards']} shards{took}, each at most {memory(manifest.get('shard_memory_mib'))}"


def images(manifest: dict[str, Any]) -> str:
    """``800``, ``train 640, val 160``, or nothing."""
    number = manifest.get("images")
    if isinstance(number, dict):
        return ", ".join(f"{split} {n}" for split, n in number.items())
    return "" if number is None else str(number)


def _state(made: Artefact, judge: Staleness, stale: dict[Path, list[str]], problem: str) -> Iterator[str]:
    reasons, uncompared = stale.get(made.folder, []), []
    if judge.chain is None:
        uncompared.append(f"settings ({problem.splitlines()[0]})")
    elif judge.job(made.folder) is None:
        try:
            judge.chain.at(made.folder)
        except WsssError as error:
            uncompared.append(f"settings ({error})")
    if judge.root is None:
        uncompared.append("versions (no checkout with stages/ here)")
    against = f" with {judge.chain.title}" if judge.chain and judge.job(made.folder) else ""
    if reasons:
        yield f"STALE, compared{against}"
        for reason in reasons:
            yield from wrapped(reason, "  - ")
        yield from _origins(made, stale)
    else:
        yield f"up to date{against}" + (" as far as it can be compared" if uncompared else "")
    for one in uncompared:
        yield from wrapped(f"not compared: {one}", "  ")


def _origins(made: Artefact, stale: dict[Path, list[str]]) -> Iterator[str]:
    """Where the staleness of inputs begins."""
    lines = [
        f"{nice(folder)}: {reason}"
        for folder, reasons in stale.items()
        for reason in reasons
        if folder != made.folder and not reason.endswith(AGAIN)
    ]
    if lines:
        yield "  which goes back to"
        for line in lines[:MOST]:
            yield from wrapped(line, "    - ")
        if len(lines) > MOST:
            yield f"    ... and {len(lines) - MOST} more"


def _settings(made: Artefact, everything: bool) -> Iterator[str]:
    if not made.settings:
        return
    different = own(made.stage, made.settings)
    chosen = list(every(counted(made.stage, made.settings))) if everything else different
    yield "settings" if everything else "settings that differ from the defaults, or have none (--all shows all)"
    marked = {key for key, _ in different}
    for key, value in chosen:
        mark = "*" if everything and any(key == one or key.startswith(f"{one}.") for one in marked) else " "
        yield from wrapped(literal(value), f" {mark}{key}: ")
    if not chosen:
        yield "  none"
    if everything:
        yield "  (* differs from the default, or has none)"
    yield ""


def _tree(made: Artefact, stale: Collection[Path]) -> Iterator[str]:
    if not made.inputs:
        return
    yield "made from"
    yield from _branches(made, stale, 1, set())
    yield ""


def _branches(made: Artefact, stale: Collection[Path], depth: int, seen: set[Path]) -> Iterator[str]:
    """The inputs of an artefact with their own recipes, each folder once."""
    indent = "  " * depth
    for name, folder in made.inputs.items():
        try:
            one = load(folder)
        except WsssError as error:
            yield f"{indent}{name}: {error}"
            continue
        if folder in seen:
            yield f"{indent}{name}: {nice(folder)} (as above)"
            continue
        seen.add(folder)
        states = [] if made.unchanged(name) else ["made again since"]
        states += ["stale"] if folder in stale else []
        number = f", {images(one.manifest)} images" if images(one.manifest) else ""
        about = f"{one.stage}, seed {one.manifest.get('seed')}{number}, {duration(one.manifest.get('wall_seconds'))}"
        yield f"{indent}{name}: {nice(folder)} ({'; '.join([about, *states])})"
        recipe = "; ".join(f"{key}: {literal(value)}" for key, value in own(one.stage, one.settings))
        yield from wrapped(recipe, f"{indent}    ") if recipe else ()
        yield from _branches(one, stale, depth + 1, seen)


def _warnings(made: Artefact) -> Iterator[str]:
    """What a reader of the result should know, all the way up."""
    every = list(chain_of(made))
    for one in every:
        for accepted in one.manifest.get("accepted", ()):
            yield f"{one.title}: accepted as it is, although {'; '.join(accepted['because'])}"
        for adopted in one.manifest.get("adopted", ()):
            yield f"{one.title}: made elsewhere, adopted from {adopted['because']['from']}"
    yield from remarks(every, checkout() or ROOT)
    versions: dict[str, dict[str, str]] = {}
    for one in every:
        dropped = one.manifest.get("dropped")
        dropped = sum(dropped.values()) if isinstance(dropped, dict) else dropped
        if dropped:
            yield f"{one.title}: {count(dropped, 'image')} dropped as broken (the index's report.json names them)"
        few = one.settings.get("gt_masks", "all")
        if one.settings.get("supervision") == "masks":
            yield f"{one.title}: trained on {'' if few == 'all' else f'{few} '}ground-truth masks"
        if one.settings.get("objective") == "guided" and few:
            yield f"{one.title}: its heatmaps were trained on {few} ground-truth masks"
        if one.settings.get("source") == "external":
            said = one.settings.get("supervision", "not stated")
            yield f"{one.title}: made elsewhere; what went into it: {said}"
        if by_hand := (one.manifest.get("corrected") or {}).get("images"):
            yield f"{one.title}: {count(by_hand, 'mask')} corrected by hand"
        if one.settings.get("source") == "regions":
            said = one.settings.get("supervision", "not stated")
            yield f"{one.title}: its regions were made elsewhere; what went into them: {said}"
        policy = (one.manifest.get("threshold") or {}).get("policy")
        if policy == "oracle":
            by = "chosen on all ground-truth masks (oracle)"
            yield f"{one.title}: its threshold was {by}, an upper bound and no result"
        if one.manifest.get("inverted"):
            yield f"{one.title}: foreground and background were swapped, as the border test said"
        for name, version in one.manifest.get("versions", {}).items():
            versions.setdefault(name, {}).setdefault(version, one.title)
    for name, found in versions.items():
        if len(found) > 1:
            places = ", ".join(f"{version} ({place})" for version, place in found.items())
            yield f"made with different versions of {name}: {places}"


def chain_of(made: Artefact) -> Iterator[Artefact]:
    """An artefact and all it was made from, as far as it is there, each once."""
    pending, seen = [made], {made.folder}
    while pending:
        one = pending.pop(0)
        yield one
        for folder in one.inputs.values():
            if folder not in seen:
                seen.add(folder)
                try:
                    pending.append(load(folder))
                except WsssError:
                    continue


def _commands(made: Artefact, chain: Chain | None) -> Iterator[str]:
    if chain is not None:
        try:
            whole = snakemake_command(chain, made.folder)
            yield "make it again, with what it needs"
            yield f"  {whole}".replace("\n", "\n  ")
        except WsssError as error:
            yield why_not(error)
    if (command := stage_command(made)) is not None:
        yield "this step alone, with the settings and inputs of then"
        yield f"  {command}".replace("\n", "\n  ")
