"""The workflow's view of a configuration: which jobs there are, which artefacts are not what is wanted, and why. No
torch."""
