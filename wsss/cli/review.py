"""``wsss review``: pseudo-labels looked at and corrected in a browser."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path

from wsss.cli.flags import add_configfile, positive

ABOUT = """\
Open a page in the browser with the photos and their pseudo-labels, the most doubtful first: accept, leave out, relabel,
draw and erase, by mouse or by keyboard. Corrections are written to a folder at once, one PNG for each photo. The page
is served to this machine alone. No configuration is changed: what to add to it is said at the end."""
EXAMPLES = """\
examples:
  wsss review results/photos
  wsss review results/photos --masks walk --to corrections
  wsss review results/photos --from edited.json         take in masks drawn elsewhere (COCO, Label Studio)
  wsss review results/photos --no-browser --port 8000   on a server; ssh -L 8000:127.0.0.1:8000 SERVER brings it here"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss review``."""
    add_configfile(parser)
    parser.add_argument("results", type=Path, metavar="RESULTS", help="results/DATASET, or the folder of a mask recipe")
    parser.add_argument("--masks", metavar="NAME", help="the recipe (default: one that a segmentation network uses)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of this seed (default 0)")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="folder of corrections (default: corrections beside the configuration)"
    )
    parser.add_argument(
        "--splits", nargs="+", choices=("train", "val"), default=["train"], help="whose photos (default: train)"
    )
    parser.add_argument(
        "--from", type=Path, dest="drawn", metavar="FILE",
        help="open no page, but take in masks from COCO's or Label Studio's JSON where they differ",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port of the page (default: any free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="masks compared side by side (default: all cores)"
    )


def review(args: argparse.Namespace) -> int:
    """Serve the page until it is closed with *Done* or Ctrl-C, or take in a file; 0.

    Raises:
        WsssError: There are no masks, corrections that lie there do not fit, or another review writes there.
    """
    from wsss.interfaces.annotations import read_annotations
    from wsss.interfaces.review.server import ReviewServer
    from wsss.interfaces.review.session import Session, masks_to_review
    from wsss.runtime.shard import locked
    from wsss.system.cores import available_cores
    from wsss.text import count

    config = args.configfile[-1] if args.configfile else None
    masks = masks_to_review(args.results, args.masks, args.seed)
    folder = args.to or Path(masks.settings.get("corrected") or Path(config or ".").parent / "corrections")
    with locked(folder):
        session = Session(masks, folder, tuple(args.splits), args.threads or available_cores())
        if args.drawn is not None:
            taken = session.take_in(read_annotations(args.drawn, session.index))
            print(f"{args.drawn}: {count(taken, 'mask')} differ from {masks.title}")
            print("\n".join(session.summary(config)))
            return 0
        said = lambda: list(session.summary(config))  # noqa: E731
        with ReviewServer(session, said, args.port) as server:
            photos = count(len(session.photos), "photo")
            print(f"{masks.title}: {photos} at\n  {server.address}\nCtrl-C ends it.", flush=True)
            # without a display, Python would start a browser for terminals, which shows nothing and takes the terminal
            if not args.no_browser and (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()):
                webbrowser.open(server.address)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print()
    print("\n".join(session.summary(config)))
    return 0
