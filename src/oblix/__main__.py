"""`python -m oblix` starts the command line."""

import sys

from oblix.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
