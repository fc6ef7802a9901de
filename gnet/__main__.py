"""``python -m gnet``: the command line of the installed package."""

import sys

from gnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
