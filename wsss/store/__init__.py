"""Artefact files: map stores, mask folders, weights, manifests."""
