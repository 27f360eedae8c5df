"""`python -m lit_mtl`."""

import sys

from lit_mtl.cli import main

if __name__ == "__main__":
    sys.exit(main())
