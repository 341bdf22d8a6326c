"""`python -m pii_kit VERB` is `pii-kit VERB`."""

import sys

from pii_kit.cli import main

if __name__ == "__main__":
    sys.exit(main())
