"""Damages good files of every reader that takes what others made, and checks that it reads them as it promises, or
refuses with one of the project's own errors that names the file: no other exception, no hang, no memory by a declared
size.

    python -m tests.fuzz maps --cases 5000 --seed 7

The parts: ``mutations`` (the damage), ``readers`` (what is read, and what it promises). ``test_found`` holds what this
has found, by hand.
"""
