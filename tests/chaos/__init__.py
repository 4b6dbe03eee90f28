"""Kills every stage in every way at random points, and checks that the same command then ends with the same bytes.

    python -m tests.chaos --kills 200 --seed 0

The parts: ``house`` (a tiny chain of all stages), ``points`` (moments inside a stage), ``nursery`` (runs a stage in a
fork of a process that has everything imported), ``deaths`` (the ways to die), ``judge`` (what has to be true
afterwards).
"""
