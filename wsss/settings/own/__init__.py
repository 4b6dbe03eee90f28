"""Settings of objectives that are added to this checkout: one file per objective, ``wsss/settings/own/NAME.py`` beside
``wsss/objectives/NAME.py``. Every module here is imported; its subclasses of ``ClassifierSettings`` that name an
``objective`` can be used in ``config.yaml``. See ``docs/tutorials/objective.md``."""
