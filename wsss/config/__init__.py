"""The configuration: reading, checking, defaults, schema and tables; ``python -m wsss.config`` checks a file."""
