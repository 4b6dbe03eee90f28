"""``wsss fetch``: the weights that a configuration names, put where stages find them without a network."""

from __future__ import annotations

import argparse

from wsss.cli.flags import add_configfile
from wsss.errors import WsssError
from wsss.text import memory, pairs
from wsss.workflow.chain import Chain

ABOUT = """\
Fetch the weights that recipes name into a cache, with checksum, source and licence beside each file: CLIP's of
'source: text', and timm's of whatever says 'pretrained: true'. Stages read them there: fetch on a machine that has a
network, and copy the folder (~/.cache/wsss/weights, or the one that WSSS_WEIGHTS names) to one that has none. CLIP's
and those of patches and keys no stage fetches; others timm fetches where they are missing, unless HF_HUB_OFFLINE=1 is
set."""
EXAMPLES = """\
examples:
  wsss fetch                                       what config.yaml names
  wsss fetch --configfile workflow/presets/voc12-clip.yaml
  wsss fetch clip:ViT-B-16-quickgelu:openai        one file, without a configuration
  wsss fetch timm:resnet50:default                 the same of timm's models"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``wsss fetch``."""
    parser.add_argument("names", nargs="*", metavar="KIND:MODEL:TAG", help="weights (default: those of the recipes)")
    add_configfile(parser)


def fetch(args: argparse.Namespace) -> int:
    """Fetch what is not there yet and say what lies where; 0.

    Raises:
        WsssError: The configuration has problems, or weights cannot be had.
    """
    from wsss.interfaces.fetch import Wanted, wanted_by
    from wsss.interfaces.fetch import fetch as get
    from wsss.store.weights_cache import cached

    chosen = [Wanted.parse(name) for name in args.names] or list(wanted_by(Chain.read(args.configfile).own))
    if not chosen:
        print("No recipe names weights to fetch: there is no 'source: text', and no 'pretrained: true'.")
    for wanted in chosen:
        try:
            found, state = cached(wanted.kind, wanted.model, wanted.tag), "there already"
        except WsssError:
            found, state = get(wanted), "fetched"
        size = memory(found.path.stat().st_size / 2**20)
        print(f"{wanted.kind} {wanted.model} {wanted.tag}: {state}")
        facts = {"file": f"{found.path} ({size})", "sha256": found.sha256}
        print("\n".join(pairs({**facts, "source": found.source, "licence": found.licence})))
    return 0
