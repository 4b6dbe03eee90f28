"""What ``wsss`` understands. Nothing is imported here that takes time, so that ``--help`` is there at once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from wsss import __version__
from wsss.cli.export import add_arguments

ABOUT = """\
Segmentation masks from image tags: from a folder of photos and a table of tags to a trained network.

    wsss init photos                     look at a folder of photos, write config.yaml for it
    wsss check                           everything that is wrong with photos and tags
    wsss run                             train, make masks, score: whatever is missing or out of date
    wsss predict results/photos/s0/segmenters/walk other-photos --out masks
                                         masks of photos that have no tags
    wsss explain results/photos/s0/classifiers/p-noc photo.jpg
                                         what in a photo a trained network goes by
    wsss export results/photos/s0/segmenters/walk --to onnx --out walk.onnx
                                         a trained network for other software
    wsss accept | adopt | clean          keep results as they are, take some in, tidy up
    wsss show results/photos/s0/masks/walk
                                         how it was made, whether it is stale, how to make it again
    wsss diff A B                        what differs between two artefacts, all the way up
    wsss plan                            jobs, images, time and memory before a run

wsss COMMAND --help says more, with examples."""
CODES = """\
exit codes: 0 done; 1 a difference (diff), or the run failed (run: as Snakemake); 2 a mistake that you can mend, said in
a sentence; 75 stopped by a signal, the same command goes on; 130 stopped by Ctrl-C.
Colours and progress bars show on a terminal only; NO_COLOR=1 turns colours off. Bars and complaints go to stderr."""

INIT = """\
Look at a folder of photos and the table of their tags, say what was found, and write a configuration that fits:
sizes by the photos, lengths of trainings by their number, networks by this machine and the weights that can be had.

The table (found beside or in the folder, or given) has the columns id,labels: a line a photo, the id is its path below
the folder without the suffix, labels are joined by ';' (farm/sheep 7,sheep;dog). Found beside it, too: masks/ID.png
(scores read them, and 20 choose a threshold), classes.txt (the order of mask values), train.txt and val.txt (ids, a
line each)."""
INIT_EXAMPLES = """\
examples:
  wsss init photos                                   photos/ and tags.csv, into config.yaml
  wsss init photos --quick --out quick.yaml          a first try: small and short, minutes on a laptop
  wsss init photos --labels tags.csv --masks masks --weights mobilenetv2_100.safetensors"""
CHECK = """\
Open every photo and mask and compare them with the table of tags: what the dataset holds, and every problem with its
file, its id and how to mend it. The run does the same first; this trains nothing and writes nothing."""
CHECK_EXAMPLES = """\
examples:
  wsss check
  wsss check --configfile my.yaml

exit code 0: a run would go on from here; 2: it would stop."""
RUN = """\
Make whatever is missing or out of date: Snakemake with the workflow of this checkout, all cores, and half-written files
made again. What is finished and would be made again is said first, with the hours that it took. All that wsss does not
know itself is passed on, so every flag and target of Snakemake will do."""
RUN_EXAMPLES = """\
examples:
  wsss run                                 everything in config.yaml, in this folder
  wsss run -n                              only show what would run
  wsss run --configfile my.yaml all_masks  as far as the pseudo masks
  wsss run --profile workflow/profiles/slurm
  wsss run --again classifier:p-noc        train it anew, although nothing that counts has changed
  wsss run --only masks                    the masks alone, from what there is
  wsss run --yes --most 50                 in a batch: go on, unless more than 50 hours are made again
  wsss run --unlock                        after a kill or a power cut; then wsss run again

Ctrl-C once stops in order; the same command goes on from there. Exit code: that of Snakemake."""
ACCEPT = """\
Finished results that are stale stand for what the configuration wants, as they are: those that are named, or all. Their
manifests tell what they were made with. Do this when you know better than the settings: an option that changes nothing
here, a version that was raised for others."""
ACCEPT_EXAMPLES = """\
examples:
  wsss accept                                       all finished results; shows them and asks
  wsss accept results/photos/s0/classifiers/p-noc"""
ADOPT = """\
Take in an artefact that was made elsewhere, by a colleague or in an earlier run: a classifier, maps, masks, whatever a
stage makes. Its settings have to be those of a recipe, its files those that its manifest tells of, its classes those of
the dataset. What lies in its place is kept."""
ADOPT_EXAMPLES = """\
examples:
  wsss adopt /shared/anna/results/photos/s0/classifiers/p-noc
  wsss adopt old/results/photos/s0/masks/walk --to results/photos/s0/masks/mine"""
CLEAN = """\
What lies in the results and is of no use any more, with its size: earlier results, kept when something was made anew,
half-done trainings of other settings, intermediates with keep: false. Asks before it deletes."""
CLEAN_EXAMPLES = """\
examples:
  wsss clean                       sizes, then a question
  wsss clean --kept --older 30     only earlier results, of more than 30 days ago
  wsss clean --unnamed --list      results of recipes that are no longer in the configuration"""

PREDICT = """\
Apply a trained segmentation network to a folder of photos; no tags are needed. DIR gets masks/ID.png (8-bit palette:
0 background, c the c-th class), overlays/ID.jpg, legend.png, and coco.json: one annotation for each connected region
of a class, as compressed RLE with area and box. Started again after a stop, it keeps what is made."""
PREDICT_EXAMPLES = """\
examples:
  wsss predict results/photos/s0/segmenters/walk new-photos --out new-masks
  wsss predict results/photos/s0/segmenters/walk new-photos --out fast --scales 1 --crf none"""

EXPLAIN = """\
Show what in a photo a trained network goes by: for each class that a classifier predicts (p > 0.5), or that a
segmentation network's mask has, a map laid over the photo. Writes a PNG for each photo, and prints the scores."""
EXPLAIN_EXAMPLES = """\
examples:
  wsss explain results/photos/s0/classifiers/p-noc photo.jpg
  wsss explain results/photos/s0/classifiers/p-noc photo.jpg --explainer minmax-cam --classes cat dog
  wsss explain results/photos/s0/segmenters/walk photo.jpg --explainer seg-hires-grad-cam"""

EXPORT = """\
Write a trained segmentation network or classifier as an ONNX file or a torch.export program. Before the file gets its
name it is compared with the network on a drawn picture; the largest difference is printed."""
EXPORT_EXAMPLES = """\
examples:
  wsss export results/photos/s0/segmenters/walk --to onnx --out walk.onnx --normalise
  wsss export results/photos/s0/classifiers/p-noc --to torch.export --out p-noc.pt2"""


def _command(commands: Any, name: str, help: str, about: str = "", examples: str = "", **more: Any) -> Any:
    return commands.add_parser(
        name, help=help, description=about or help[0].upper() + help[1:] + ".", epilog=examples or None,
        formatter_class=argparse.RawDescriptionHelpFormatter, **more,
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="wsss", description=ABOUT, epilog=CODES, formatter_class=raw, usage="wsss COMMAND ..."
    )
    top.add_argument("--version", action="version", version=f"wsss {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands", prog="wsss")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument(
        "--configfile", action="append", metavar="FILE",
        help="configuration (default: config.yaml here); given several times, later files go over earlier ones",
    )  # fmt: skip
    _init(commands)
    check = _command(
        commands, "check", "everything that is wrong with photos and tags", CHECK, CHECK_EXAMPLES, parents=[configured]
    )
    check.add_argument("--dataset", action="append", metavar="NAME", help="only this one (default: those of the run)")
    check.add_argument(
        "--threads", type=_positive, metavar="N", help="files looked at side by side (default: all cores)"
    )
    # no abbreviations: --config is a flag of Snakemake
    run = _command(
        commands, "run", "make what is missing or out of date", RUN, RUN_EXAMPLES,
        parents=[configured], allow_abbrev=False, usage="wsss run [--configfile FILE] [TARGET] [flags of Snakemake]",
    )  # fmt: skip
    run.add_argument("--again", action="append", metavar="STAGE[:NAME]", help="make these anew, changed or not")
    run.add_argument("--only", action="append", metavar="STAGE[:NAME]", help="make these alone, from what there is")
    run.add_argument("--yes", action="store_true", help="make finished results again without asking")
    run.add_argument(
        "--most", type=float, metavar="HOURS", help="refuse if finished results that took more would be made again"
    )
    _keeping(commands, configured)
    _predict(commands)
    _explain(commands)
    add_arguments(
        _command(commands, "export", "a trained network as a file for other software", EXPORT, EXPORT_EXAMPLES)
    )
    _looking(commands, configured)
    return top


def _init(commands: Any) -> None:
    init = _command(commands, "init", "look at a folder of photos, write a configuration for it", INIT, INIT_EXAMPLES)
    init.add_argument("photos", type=Path, metavar="PHOTOS", help="folder with the photos, folders in it included")
    init.add_argument(
        "--labels", type=Path, metavar="FILE", help="table of tags (default: the one in or beside PHOTOS)"
    )
    init.add_argument("--masks", type=Path, metavar="DIR", help="true masks ID.png, to score with (default: "
                      "PHOTOS/../masks, if it has masks of these photos)")  # fmt: skip
    init.add_argument("--out", type=Path, default=Path("config.yaml"), metavar="FILE",
                      help="file to write (default: config.yaml)")  # fmt: skip
    init.add_argument("--force", action="store_true", help="write over it")
    init.add_argument("--quick", action="store_true", help="a first try: small pictures, one classifier, few epochs")
    init.add_argument("--weights", type=Path, metavar="FILE", help="ImageNet weights of a timm model, safetensors or "
                      "pth (default: a file named after its model in a folder 'weights' here or near the photos; else "
                      "the hub's; else none)")  # fmt: skip
    init.add_argument("--backbone", metavar="NAME", help="timm model (default: what suits the machine and the weights)")
    init.add_argument(
        "--name", metavar="NAME", help="of the dataset (default: the folder's): results go to results/NAME"
    )
    init.add_argument("--broken", choices=("fail", "drop"), default="fail",
                      help="what a run does about broken photos: stop (default), or leave them out")  # fmt: skip


def _keeping(commands: Any, configured: argparse.ArgumentParser) -> None:
    """The commands about results that are there: accept, adopt, clean."""
    accept = _command(commands, "accept", "take finished results as they are", ACCEPT, ACCEPT_EXAMPLES,
                      parents=[configured])  # fmt: skip
    accept.add_argument("path", type=Path, nargs="*", metavar="PATH", help="artefacts (default: all that are stale)")
    adopt = _command(
        commands, "adopt", "take in an artefact made elsewhere", ADOPT, ADOPT_EXAMPLES, parents=[configured]
    )
    adopt.add_argument("folder", type=Path, metavar="FOLDER", help="the artefact's folder, with its manifest.json")
    adopt.add_argument(
        "--to", type=Path, metavar="DIR", help="where it belongs (default: the recipe with its settings)"
    )
    adopt.add_argument("--anyway", action="store_true", help="although its settings are others than those of --to")
    clean = _command(
        commands, "clean", "delete what is of no use any more", CLEAN, CLEAN_EXAMPLES, parents=[configured]
    )
    clean.add_argument("--kept", action="store_true", help="earlier results in .kept")
    clean.add_argument("--checkpoints", action="store_true", help="half-done trainings of finished artefacts")
    clean.add_argument("--intermediates", action="store_true", help="files of finished recipes with keep: false")
    clean.add_argument("--unnamed", action="store_true", help="results that the configuration does not name")
    clean.add_argument("--older", type=float, default=0, metavar="DAYS", help="only what is older")
    clean.add_argument("--list", action="store_true", help="name every folder")
    for one in (accept, clean):
        one.add_argument("--yes", action="store_true", help="do not ask")


def _predict(commands: Any) -> None:
    predict = _command(commands, "predict", "masks of other photos by a trained network", PREDICT, PREDICT_EXAMPLES)
    predict.add_argument("network", type=Path, metavar="NETWORK", help="results/DATASET/sSEED/segmenters/NAME")
    predict.add_argument("photos", type=Path, metavar="PHOTOS", help="folder with photos, folders in it included")
    predict.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    predict.add_argument("--scales", type=float, nargs="+", metavar="X", help="sizes at which each photo is seen, 1: "
                         "its own (default: as the network's recipe has it)")  # fmt: skip
    predict.add_argument(
        "--crf", metavar="NAME", help="dense CRF: none, labels, labels-1, deeplab, psa (default: likewise)"
    )
    predict.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu or cuda")
    predict.add_argument("--threads", type=_positive, metavar="N", help="cores it may use (default: all)")
    predict.add_argument("--force", action="store_true", help="make everything in DIR anew")
    predict.add_argument("--skip-unreadable", action="store_true", help="go on without photos that cannot be read")


def _explain(commands: Any) -> None:
    explain = _command(commands, "explain", "what in a photo a trained network goes by", EXPLAIN, EXPLAIN_EXAMPLES)
    explain.add_argument("network", type=Path, metavar="NETWORK", help="folder of a classifier or a segmenter")
    explain.add_argument("photos", type=Path, nargs="+", metavar="PHOTO", help="pictures to explain")
    explain.add_argument("--explainer", metavar="NAME", help="cam, grad-cam, minmax-cam, score-cam, occlusion, ...; "
                         "seg-grad-cam, seg-ablation-cam, ... (default: cam, seg-grad-cam)")  # fmt: skip
    explain.add_argument("--option", action="append", metavar="NAME=VALUE", help="an option of the explainer")
    explain.add_argument("--classes", nargs="+", metavar="CLASS", help="explain these classes, whatever is predicted")
    explain.add_argument("--layer", metavar="NAME", help="layer to look at (default: the last features)")
    explain.add_argument("--out", type=Path, metavar="PNG|DIR", help="(default: PHOTO-EXPLAINER.png here)")
    explain.add_argument(
        "--max-side", type=_positive, default=1024, metavar="N", help="larger photos are reduced (1024)"
    )
    explain.add_argument("--seed", type=int, default=0, help="seed of explainers with noise (0)")
    explain.add_argument("--threads", type=_positive, metavar="N", help="cores it may use (default: all)")
    explain.add_argument("--device", default="auto", metavar="NAME", help="auto (default), cpu or cuda")


def _looking(commands: Any, configured: argparse.ArgumentParser) -> None:
    """The commands that only read: show, diff, plan."""
    show = _command(
        commands, "show", "how an artefact was made, whether it is stale, how to make it again", parents=[configured]
    )
    show.add_argument("path", type=Path, metavar="PATH", help="an artefact's folder, or anything inside it")
    show.add_argument("--all", action="store_true", help="all settings, not only those that differ from the defaults")
    show.add_argument("--verify", action="store_true", help="read all its files: are they those that were made?")

    diff = _command(
        commands, "diff", "what differs between two artefacts",
        "Compare two artefacts and all that they were made from. Exit code 0: no difference, 1: some.",
    )  # fmt: skip
    diff.add_argument("a", type=Path, metavar="A", help="an artefact's folder, or anything inside it")
    diff.add_argument("b", type=Path, metavar="B", help="likewise")
    diff.add_argument("--all", action="store_true", help="also what was found on the way, and time and memory")

    plan = _command(commands, "plan", "jobs, images, expected time and memory of a configuration", parents=[configured])
    plan.add_argument("--jobs", action="store_true", help="list every job to do, with the reason")
    for target in ("ablation", "explain"):
        plan.add_argument(
            f"--{target}", action="store_const", dest="target", const=target, default="all",
            help=f"plan the target '{target}' in place of the default run",
        )  # fmt: skip
    plan.add_argument("--device", metavar="TEXT", help="go by runs on devices whose name contains this (H100, Xeon)")
    plan.add_argument(
        "--history", action="append", type=Path, default=[], metavar="DIR",
        help="another results folder to learn times from; may be given several times",
    )  # fmt: skip


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number
