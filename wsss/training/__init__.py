"""Training networks: the engine and its loop, checkpoints, records, optimisers, and what a training needs to begin."""
