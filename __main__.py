"""`python -m audiollm COMMAND ...`: as the command `audiollm`."""

import sys

from .commands import main


if __name__ == "__main__":
    sys.exit(main())
