"""Runs one catalog node: `python -m catalog --node NAME [--config FILE]`."""

from catalog.app import create_app
from common.serve import main

raise SystemExit(main("catalog", create_app))
