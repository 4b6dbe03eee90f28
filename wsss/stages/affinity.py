"""Training of the edge network that random walks follow."""

from __future__ import annotations

from wsss.data.index import Index
from wsss.models.edge_network import save_edge_network
from wsss.objectives.affinity import PairAffinity
from wsss.runtime.run import Run
from wsss.settings import AffinitySettings
from wsss.store.masks import FileOf, MaskFolder
from wsss.training.checkpoint import keep_product
from wsss.training.train import given_classifiers, prepare, train


def make(run: Run) -> None:
    """Train the edge network of ``run.settings`` on the tagged training images; write weights and metrics.

    The weights are those of the whole network, frozen backbone and all, so that walking needs nothing else.

    Raises:
        WsssError: No training image has a tag, an image has no labels, or the classifier to start from was not given.
    """
    settings: AffinitySettings = run.settings
    index = Index.load(run.inputs["index"])
    items = index.training_items()
    given = given_classifiers(run, settings)
    labels = MaskFolder(run.inputs["labels"] / "masks")
    labels.require(items, "make the affinity labels again")
    device = prepare(run)
    goal = PairAffinity(settings, len(index.classes), given.get("warm_start"))
    network = train(run, goal, items, len(index.classes), device, FileOf(labels))
    if run.world.rank:
        return
    save_edge_network(run.out, network, settings)
    keep_product(run)
    run.note(images=len(items))
