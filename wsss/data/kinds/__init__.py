"""Kinds of datasets, one per file: ``collect`` finds the images, tags and masks that the settings name."""
