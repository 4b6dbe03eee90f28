"""Kills every stage in every way at random points, and checks that the same command then ends with the same bytes, and
that nothing is lost that was there before.

    python -m tests.chaos --kills 200 --seed 0

The parts: ``house`` (a tiny chain of all stages), ``store`` (what the chain has made, and others in the same folders),
``points`` (moments inside a stage), ``nursery`` (runs a stage in a fork of a process that has everything imported),
``deaths`` (the ways to die), ``judge`` and ``trial`` (what has to be true afterwards), ``episodes`` (of stages),
``clerks`` (of ``wsss accept`` and ``wsss adopt``). Beside them ``snakes``: deaths of Snakemake itself; and
``test_kept``: every single step of the moves to ``.kept`` and back.
"""
