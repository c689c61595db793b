"""`python -m order --node order-1`: runs one order server."""

import sys

from common.serve import main
from order.app import create_app

if __name__ == "__main__":
    sys.exit(main("order", create_app))
