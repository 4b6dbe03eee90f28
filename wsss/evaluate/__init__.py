"""Scores: what maps, masks, predictions and classifiers are worth, and how that is known."""
