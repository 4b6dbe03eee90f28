"""Every kernel beside what it replaces, measured in turn: ``python -m benchmarks --help``."""
