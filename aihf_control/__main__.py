"""`python -m aihf_control …` is `aihf …`."""

import sys

from aihf_control.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
