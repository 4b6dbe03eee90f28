"""Kinds of datasets, one a file: ``collect`` finds the images, tags and masks that the settings name."""
