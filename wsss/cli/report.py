"""``wsss report``: the results of two runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from wsss.text import listed, nice, wrapped

ABOUT = """\
Compare the results of a run with those of an earlier one: which recipes changed, mIoU before and now, the difference.
The table is printed, and written as a page of HTML. (The report of a single run, report.html, is made by wsss run.)"""
EXAMPLES = """\
examples:
  wsss report results/photos --against results-before/photos
  wsss report results/photos --against kept               what wsss run kept when it made these results anew
  wsss report results/photos --against old --out new.html"""
KEPT = "kept"
PAGE = "changes.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss report``."""
    parser.add_argument("results", type=Path, metavar="RESULTS", help="the folder of a dataset's results")
    parser.add_argument(
        "--against", required=True, metavar="BEFORE", help=f"that of the earlier run, or '{KEPT}': what was kept here"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"the page (default: {PAGE} in RESULTS)")


def report(args: argparse.Namespace) -> int:
    """Print the table and write the page; 0. Raises ``WsssError`` where a folder holds no scores."""
    from wsss.report.changes import EXPLANATION, SAME, changes, changes_table, read_kept, read_results
    from wsss.report.headline import final
    from wsss.report.html.chain import chain
    from wsss.report.html.render import render_page
    from wsss.system.files import atomic_path
    from wsss.text import table

    now = read_results(args.results)
    before = read_kept(args.results) if args.against == KEPT else read_results(Path(args.against))
    found = changes(before, now)
    shown = changes_table(found)
    for line in table(shown.heads[:-1], [row[:-1] for row in shown.rows], right=(3, 4, 5)):
        print(line)
    for one, row in zip(found, shown.rows, strict=True):
        if one.causes:
            print("\n".join(wrapped(f"{row[0]}: {'; '.join(one.causes)}", "  ", "      ")))
    states = [one.state for one in found]
    numbers = [f"{states.count(state)} {state}" for state in dict.fromkeys(states) if state != SAME]
    said = f"{len(found)} results: {listed([*numbers, f'{states.count(SAME)} {SAME}'], ' and ')}"
    earlier = "what was kept here" if args.against == KEPT else nice(args.against)
    content = {
        "sentence": f"{nice(args.results)} beside {earlier}. {said}.",
        "explanation": EXPLANATION,
        "changes": shown,
    }
    page = render_page(args.results.resolve().name, {"changes": content, "chain": chain(now, final(now))})
    out = args.out or args.results / PAGE
    with atomic_path(out) as path:
        path.write_text(page, encoding="utf-8")
    print(f"{said}. {nice(out)} has the same as a page.")
    return 0
