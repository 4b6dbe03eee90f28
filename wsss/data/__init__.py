"""Datasets: image-level labels, splits, masks for scoring, and the index that every later stage reads.

Each kind of dataset is one module with a function ``collect(settings, out, threads) -> Collected`` that says what
*should* be there (``wsss.data.kinds.scenes``, ``folder``, ``voc``, ``coco``); ``wsss.data.validate`` looks whether it
is; ``wsss.stages.index`` writes the index; ``wsss.data.index`` reads it. Nothing is imported here, so that a stage
depends on no more of this package than it uses.
"""
