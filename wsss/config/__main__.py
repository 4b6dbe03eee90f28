"""``python -m wsss.config``: check a file of settings, or print the JSON schema."""

from wsss.config.loader import main

main()
