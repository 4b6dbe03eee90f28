"""A stage program as it runs: its arguments, locks, shards, signals and manifest."""
