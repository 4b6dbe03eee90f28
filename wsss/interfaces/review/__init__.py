"""Review of pseudo-labels in a browser: photos sorted by doubt, and corrections drawn by hand."""
