"""The report of a dataset: one HTML file with tables, curves and pictures that needs nothing beside it."""
