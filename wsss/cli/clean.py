"""``wsss clean``: what lies in the results and is of no use any more, with its size, and away with it."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from wsss.cli.confirm import confirmed
from wsss.cli.flags import add_configfile
from wsss.errors import WsssError
from wsss.provenance.outputs import RUN, STATE
from wsss.store.artefact import OF_SUMMARY, below_folder, load
from wsss.store.kept import all_kept, drop
from wsss.store.manifest import SECOND
from wsss.text import count, memory, nice, table
from wsss.workflow.chain import Chain
from wsss.workflow.checkout import checkout
from wsss.workflow.staleness import Staleness
from wsss.workflow.temporary import delete, spent

ABOUT = """\
What lies in the results and is of no use any more, with its size: earlier results, kept when something was made anew,
half-done trainings of other settings, intermediates with keep: false. Asks before it deletes."""
EXAMPLES = """\
examples:
  wsss clean                       sizes, then a question
  wsss clean --kept --older 30     only earlier results, of more than 30 days ago
  wsss clean --unnamed --list      results of recipes that are no longer in the configuration"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss clean``."""
    add_configfile(parser)
    parser.add_argument("--kept", action="store_true", help="earlier results in .kept")
    parser.add_argument("--checkpoints", action="store_true", help="half-done trainings of finished artefacts")
    parser.add_argument("--intermediates", action="store_true", help="files of finished recipes with keep: false")
    parser.add_argument("--unnamed", action="store_true", help="results that the configuration does not name")
    parser.add_argument("--older", type=float, default=0, metavar="DAYS", help="only what is older")
    parser.add_argument("--list", action="store_true", help="name every folder")
    parser.add_argument("--yes", action="store_true", help="do not ask")


WHAT = {
    "kept": "earlier results, kept when something was made anew",
    "checkpoints": "half-done trainings of other settings or versions",
    "intermediates": "files of finished recipes with keep: false",
    "unnamed": "results that the configuration does not name",
}
USUAL = ("kept", "checkpoints", "intermediates")


def clean(args: argparse.Namespace) -> int:
    """Print sizes, ask, and delete. Raises ``WsssError`` where nobody can be asked."""
    chain = Chain.read(args.configfile)
    wanted = [name for name in WHAT if getattr(args, name)] or USUAL
    before = time.time() - 86400 * args.older
    found = {name: [one for one in paths(name, chain) if one.lstat().st_mtime <= before] for name in wanted}
    found = {name: folders for name, folders in found.items() if folders}
    if not found:
        print("Nothing to clean.")
        return 0
    rows = [
        [name, str(len(folders)), memory(sum(map(size, folders)) / 2**20), WHAT[name]]
        for name, folders in found.items()
    ]
    print("\n".join(table(["what", "folders", "size", ""], rows, right=(1, 2))))
    if args.list:
        print("\n".join(f"  {nice(one)}: {memory(size(one) / 2**20)}" for folders in found.values() for one in folders))
    total = sum(map(len, found.values()))
    if not confirmed(f"Delete {count(total, 'folder')}?", args.yes):
        raise WsssError("nothing was deleted; give --yes where nobody can be asked")
    for name, folders in found.items():
        for one in folders:
            remove(name, one)
    print("Deleted.")
    return 0


def paths(what: str, chain: Chain) -> Iterator[Path]:
    """The folders of one kind below the results."""
    results = Path(chain.config.results)
    if what == "kept":
        yield from all_kept(results)
    elif what == "checkpoints":
        for state in sorted(results.glob(f"*/s*/*/*/{STATE}")):
            finished = (state.parent / "manifest.json").is_file()
            yield from (one for one in state.iterdir() if one.is_dir() and finished)
    elif what == "intermediates":
        yield from spent(Staleness(chain, checkout()))
    else:
        named = {os.path.abspath(chain.folder(job)) for job in chain.everything()}
        yield from (one for one in below_folder(results) if os.path.abspath(one) not in named and ours(one))


def ours(folder: Path) -> bool:
    """Whether a manifest is that of a stage."""
    try:
        return bool(load(folder).stage)
    except WsssError:
        return False


def remove(what: str, folder: Path) -> None:
    """Delete a folder; of a summary, whose folder holds all other artefacts too, only what belongs to it."""
    if what == "intermediates":
        delete(folder)
    elif what == "kept":
        drop(folder)
    elif what == "unnamed" and (folder / "index").is_dir():
        for name in (*OF_SUMMARY, RUN, SECOND):
            path = folder / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
