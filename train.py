"""The command line of the repository: ``python train.py fit | validate | test | predict | study ...``."""

import sys
from pathlib import Path

# Another installed package is called ``datasets`` too; the repository's folder comes first.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from gnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
