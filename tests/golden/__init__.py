"""Versions that cannot lie: every stage and every method on tiny inputs, and the values that it computes, on record.

    python -m tests.golden --record STAGE.CASE          after VERSION was raised, or for a new case
    python -m tests.golden --record --explain 'torch 2.16 sums in another order'
    python -m tests.golden --drift                      how far values go with other instructions of the processor

An artefact's identity holds no code: each program, objective, explainer, kind of dataset and kernel declares a
``VERSION`` (``wsss.provenance.versions``), and a person raises it when results change. The tests here fail where values
move under a version that does not, where a version is raised and nothing moves, and where something that declares a
version has no case at all.

The parts: ``cases`` and the ``of_*`` (what is run), ``fixtures`` (tiny datasets and fixed inputs), ``running`` (runs
the cases in one process), ``portraits`` (what is kept of an output), ``comparing`` (tolerances and verdicts),
``records`` (the files in ``values/``), ``pins`` (instructions of the processor), ``counted`` (settings that count in
identities), ``mutations`` (changes that must be seen).
"""
