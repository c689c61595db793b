"""`python -m frontend --node frontend-1`: runs one frontend."""

import sys

from common.serve import main
from frontend.app import create_app

if __name__ == "__main__":
    sys.exit(main("frontend", create_app))
