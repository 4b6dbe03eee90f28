"""Kills every stage in every way at random points, and checks that the same command then ends with the same bytes, and
that nothing is lost that was there before.

    python -m tests.chaos --kills 200 --seed 0

The parts: ``checkout`` (a tiny chain of all stages), ``store`` (what the chain has made, and others in the same
folders), ``kill_points`` (moments inside a stage), ``processes`` (runs a stage in a fork of a process that has
everything imported), ``kills`` (the ways to die), ``judge`` and ``trial`` (what has to be true afterwards), ``rounds``
(of stages), ``console_commands`` (of ``wsss accept`` and ``wsss adopt``). Beside them ``snakemake_runs``: kills of
Snakemake itself; and ``test_kept``: every single step of the moves to ``.kept`` and back.
"""
