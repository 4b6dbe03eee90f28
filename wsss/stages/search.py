"""The stage ``search``: look for small segmentation networks that explain as a trained one does.

Writes:

- ``search.csv``: a row per network that was judged, the best first (``COLUMNS``, and ``distance CLASS`` of each class);
- ``ranked.json``: the same networks as recipes, what the evolution and the random search came to, the sample of even
  ranks, cost and figures of the teacher; ``wsss.store.found`` reads it;
- ``best.yaml``: the best one, to be pasted into ``segmenters``;
- ``maps.png``: maps of the teacher and of five networks, from the best to the worst.

Each network that is judged is a part that is whole or not there, so a search that was killed goes on with the next one.
Several jobs may share it (--shard I/N): each takes what nobody else is at work on.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import numpy as np
import torch
import yaml

from wsss.beyond.search_cost import Cost, cost_of
from wsss.beyond.search_evolution import Progress, progress
from wsss.beyond.search_judging import Judge
from wsss.beyond.search_space import Genome, Space
from wsss.data.index import Index
from wsss.data.transforms import MEAN, STD
from wsss.errors import WsssError
from wsss.explain.seeds import built
from wsss.inference.network import open_network
from wsss.models.segmenter import Segmenter, load_segmenter
from wsss.parts.claims import claimed
from wsss.parts.folder import find_parts, open_parts
from wsss.parts.units import Unit, read_unit, unit_path, write_unit
from wsss.report.overlays import ExplanationRow, draw_explanations
from wsss.runtime.arguments import read_settings
from wsss.runtime.run import Run
from wsss.settings import FITNESS, SearchSettings, SegmenterSettings
from wsss.settings import Segmenter as AnySegmenter
from wsss.stages.audit import colours_of
from wsss.stages.explanation import evenly
from wsss.store.found import RANKED, SAMPLE
from wsss.store.manifest import read_manifest
from wsss.system.files import atomic_path, write_json, write_rows, write_text
from wsss.system.log import log
from wsss.training.candidates import Candidates
from wsss.training.short import Lessons

TEACHER = "teacher"
"""Name of the part that holds what is told of the teacher."""
COLUMNS = (
    "rank", "genome", "params", "macs", *(name for name in FITNESS if name != "params"), "distance", "rows",
    "zero_maps", "drawn", "iteration", "parents",
)  # fmt: skip
"""Of ``search.csv``."""
WAIT = 1.0
"""Seconds between looks at what other jobs are at work on."""


def make(run: Run) -> None:
    """Judge what the search asks for until it asks for nothing more, and write; see above.

    Raises:
        WsssError: The teacher predicts no object in any image that is explained; a network of the space cannot be
            built; none is within the budget; there are too few images for a batch.
        Interrupted: A signal asked to stop; what was judged stays.
    """
    search = Search(run)
    missing = find_parts(search.missing, bool, search.promised)
    candidates: Candidates | None = None
    while missing:
        candidates = candidates or candidates_of(run, search)
        if not judge_one(search, candidates, missing):
            time.sleep(WAIT)
        run.check_stop()
        missing = search.missing()
    if run.shard is None:
        write_results(run, search)
    run.note(images=len(evenly(search.index.split("train"), search.settings.images)))


def judge_one(search: Search, candidates: Candidates, missing: list[str]) -> bool:
    """Judge the first missing network that no other job is at work on; False where there is none."""
    for name in missing:
        with claimed(search.folder / f".{hashlib.sha256(name.encode()).hexdigest()[:32]}.lock") as mine:
            if mine:
                if search.told(name) is None:  # another job may have finished it meanwhile
                    write_unit(search.folder, name, part(candidates, search, name))
                return True
    return False


class Search:
    """A search as far as it is known: what its parts say, and what it asks for next.

    Attributes:
        folder: Where the parts lie.
        promised: Whether other jobs say that they made all of it.
        found: Name of a network, or ``TEACHER``, to what its part tells.
        state: What was drawn, as of the last look.
    """

    def __init__(self, run: Run) -> None:
        self.settings: SearchSettings = run.settings
        self.index, self.seed = Index.load(run.inputs["index"]), run.args.seed
        self.space = Space(self.settings.space)
        self.by_name = {str(genome): genome for genome in self.space.every}
        self.folder, self.promised = open_parts(run)
        self.found: dict[str, dict[str, Any]] = {}
        self.costs: dict[Genome, Cost] = {}
        self.state = Progress()

    def told(self, name: str) -> dict[str, Any] | None:
        """What the part of a network tells; None where there is none that can be read."""
        path = unit_path(self.folder, name)
        if name not in self.found and path.exists():
            try:
                self.found[name] = read_unit(path, arrays=False).told
            except (OSError, ValueError, KeyError) as error:
                log.warning(f"{path.name} is made again: {error}")
        return self.found.get(name)

    def missing(self) -> list[str]:
        """Names of the parts that can be made now; none: the search is done.

        Raises:
            WsssError: No network is within the budget.
        """
        self.state = progress(self.space, self.settings, self.seed, self.affordable, self.fitness)
        if not self.state.drawn:
            least = [min(getattr(cost, name) for cost in self.costs.values()) for name in Cost._fields]
            raise WsssError(
                f"no network of 'space' is within 'budget': of those looked at, none has fewer than "
                f"{least[0] / 1e6:.2f} million parameters or {least[1] / 1e9:.3f} billion multiply-adds; raise the "
                "budget, or add smaller ones"
            )
        teacher = [] if self.told(TEACHER) is not None else [TEACHER]
        return teacher + [str(genome) for genome in self.state.missing]

    def fitness(self, genome: Genome) -> float | None:
        """By what the recipe chooses; None for a network that is not judged yet."""
        told = self.told(str(genome))
        return None if told is None else float(told[self.settings.fitness])

    def affordable(self, genome: Genome) -> bool:
        """Whether a network is within the budget."""
        return self.cost(genome).within(self.settings.budget)

    def cost(self, genome: Genome) -> Cost:
        """Of a network, counted once. Raises ``WsssError`` where it cannot be built."""
        if genome not in self.costs:
            told = self.told(str(genome))
            if told is None:
                network = Segmenter(
                    genome.architecture,
                    genome.backbone,
                    len(self.index.classes) + 1,
                    genome.output_stride,
                    genome.atrous_rates or (6, 12, 18),
                    decoder_channels=genome.decoder_channels,
                )
                self.costs[genome] = cost_of(network, self.settings.size)
            else:
                self.costs[genome] = Cost(told["params"], told["macs"])
        return self.costs[genome]

    def judged(self) -> list[Genome]:
        """All networks, the best first; of equal ones the one drawn earlier."""
        drawn = list(dict.fromkeys([one.genome for one in self.state.drawn] + self.state.random))
        return sorted(drawn, key=lambda genome: -float(self.found[str(genome)][self.settings.fitness]))


def candidates_of(run: Run, search: Search) -> Candidates:
    """What judges candidates, once the space and the teacher are found to be sound.

    Raises:
        WsssError: A network cannot be built; the teacher's manifest has no settings; it predicts no object in any
            image; there are too few images for a batch.
    """
    settings, index = search.settings, search.index
    weights = search.space.weights.values()
    if len({weight is False for weight in weights}) > 1:
        log.warning(
            "'space.backbone' has backbones with pretrained weights and others without: that will decide more than "
            "anything else; compare within one kind"
        )
    for genome in {(g.architecture, g.backbone, g.output_stride): g for g in search.space.every}.values():
        search.cost(genome)  # whether it can be built, before hours are spent on others
    recipe = recipe_of_teacher(run, settings)
    teacher, device = open_network(run.inputs["teacher"], load_segmenter, index, run.args.device, run.args.threads)
    judge = Judge(teacher, built(settings.explainer, settings.explainer_options), settings, run.args.seed)
    items = index.split("train")
    lessons = Lessons(
        items, len(index.classes), recipe, settings.warm_steps, run.args.seed, judge.predicted, run.args.threads, device
    )
    mean, std = (torch.from_numpy(v).to(device)[:, None, None] for v in (MEAN, STD))
    probes = []
    for item in evenly(items, settings.images):
        probes.append(judge.probe(item.id, (colours_of(item, settings.size, device) - mean) / std))
        run.check_stop()
    if not any(probe.classes for probe in probes):
        raise WsssError(
            f"{run.inputs['teacher']}: this network predicts no object in any of the {len(probes)} images, so there is "
            "nothing to explain; take a better one, or more images"
        )
    return Candidates(judge, probes, lessons, recipe, search.space, index.classes, run.check_stop)


def recipe_of_teacher(run: Run, settings: SearchSettings) -> SegmenterSettings:
    """How candidates are trained: as the teacher was, with a falling rate from the first step on."""
    values = read_manifest(run.inputs["teacher"]).get("settings")
    if not values:
        raise WsssError(f"{run.inputs['teacher']}: the manifest of this network has no settings; train it again")
    recipe: SegmenterSettings = read_settings(AnySegmenter, json.dumps(values))
    return recipe.model_copy(update={"batch_size": settings.batch_size, "lr_schedule": "poly", "warmup": 0.0})


def part(candidates: Candidates, search: Search, name: str) -> Unit:
    """The part of a network, or of the teacher."""
    if name == TEACHER:
        told, maps = candidates.teacher()
        return Unit({**told, **cost_of(candidates.judge.teacher, search.settings.size)._asdict()}, {"maps": maps})
    genome = search.by_name[name]
    told, maps = candidates.judged(genome)
    value = told[search.settings.fitness] if search.settings.fitness in told else search.cost(genome).params
    log.info(f"{name}: {search.settings.fitness} {value:.4g} in {told['seconds']:.0f} s")
    return Unit({**told, **search.cost(genome)._asdict()}, {"maps": maps})


# --- what is written ------------------------------------------------------------------------------------------------


def write_results(run: Run, search: Search) -> None:
    """Put together what came of a search that is done."""
    ranked, settings, state = search.judged(), search.settings, search.state
    names, told = [str(genome) for genome in ranked], search.found
    of_evolution = {str(one.genome): one for one in state.drawn}
    of_random = {str(genome) for genome in state.random}
    drawn = {
        name: " and ".join(w for w, of in (("evolution", of_evolution), ("random", of_random)) if name in of)
        for name in names
    }
    classes = search.index.classes
    rows = []
    for rank, name in enumerate(names):
        one, bred = told[name], of_evolution.get(name)
        facts = {
            **one,
            "rank": rank,
            "genome": name,
            "drawn": drawn[name],
            "iteration": None if bred is None else bred.iteration,
            "parents": "" if bred is None else "; ".join(map(str, bred.parents)),
        }
        rows.append([*(facts[column] for column in COLUMNS), *(one["per_class"].get(c) for c in classes)])
    write_rows(run.out / "search.csv", (*COLUMNS, *(f"distance {name}" for name in classes)), rows)
    networks = [
        {
            "genome": name,
            "recipe": search.space.recipe(genome),
            **{key: told[name][key] for key in ("params", "macs", "distance", "zero_maps", "rows")},
            **{kind: told[name][kind] for kind in FITNESS},
            "drawn": drawn[name],
        }
        for name, genome in zip(names, ranked, strict=True)
    ]
    best = {
        way: next((n for n, name in enumerate(names) if way in drawn[name]), None) for way in ("evolution", "random")
    }
    ranks = np.linspace(0, len(names) - 1, min(SAMPLE, len(names))).round().astype(int).tolist()
    result = {
        "fitness": settings.fitness,
        "networks": networks,
        "sample": ranks,
        "teacher": {key: value for key, value in told[TEACHER].items() if key != "pictured"},
        "best": best,
        "judged": {"evolution": len(of_evolution), "random": len(of_random)},
        "exhausted": state.exhausted,
    }
    write_json(run.out / RANKED, result)
    write_text(run.out / "best.yaml", best_recipe(run.out.name, networks[0], settings.fitness))
    draw_maps(run, search, names)
    run.record(judging_seconds=[round(told[name]["seconds"], 2) for name in names])
    run.note(judged=len(names))


def best_recipe(search: str, network: dict[str, Any], fitness: str) -> str:
    """``best.yaml``."""
    recipe = {key: value for key, value in network["recipe"].items() if value is not None}
    text = yaml.safe_dump({"segmenters": {f"{search}-best": recipe}}, sort_keys=False, default_flow_style=None)
    return (
        f"# The best network of the search {search} by {fitness}: {network['params'] / 1e6:.2f} million parameters, "
        f"{network['macs'] / 1e9:.3f} billion multiply-adds.\n"
        f"# Say what it learns from: 'masks: NAME', or 'supervision: masks'.\n{text}"
    )


def draw_maps(run: Run, search: Search, names: list[str]) -> None:
    """Write ``maps.png``."""
    shown = list(dict.fromkeys(np.linspace(0, len(names) - 1, min(5, len(names))).round().astype(int).tolist()))
    titles = {TEACHER: TEACHER} | {names[rank]: f"{rank}: {names[rank]}" for rank in shown}
    maps = {title: read_unit(unit_path(search.folder, name)).arrays["maps"] for name, title in titles.items()}
    rows = [
        ExplanationRow(search.index.item(id), {title: found[n] for title, found in maps.items()}, f"{id}: {name}")
        for n, (id, name) in enumerate(search.found[TEACHER]["pictured"])
    ]
    with atomic_path(run.out / "maps.png") as temporary:
        draw_explanations(rows, temporary)
