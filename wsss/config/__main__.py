"""Check a file of settings, or print the JSON schema.

python -m wsss.config config.yaml      check a file
python -m wsss.config --schema         print the JSON schema (kept in workflow/schemas/config.schema.json)
"""

from __future__ import annotations

import argparse
import json

from wsss.config.loader import load
from wsss.config.schema import schema
from wsss.config.yaml import read_yaml
from wsss.errors import WsssError
from wsss.text import listed


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="a YAML file to check")
    parser.add_argument("--schema", action="store_true", help="print the JSON schema of config.yaml")
    args = parser.parse_args()
    if args.schema:
        print(json.dumps(schema(), indent=2, ensure_ascii=False))
    elif args.config is None:
        parser.error("name a YAML file, or ask for --schema")
    else:
        try:
            config = load(read_yaml(args.config))
        except WsssError as error:
            parser.exit(2, f"{error}\n")
        count = sum(map(len, config.recipes.values()))
        print(f"{args.config}: well-formed; {count} recipes, dataset {listed(config.dataset)}")


if __name__ == "__main__":
    main()
