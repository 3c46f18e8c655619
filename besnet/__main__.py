"""`python -m besnet`, the same as `besnet`."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # -m puts the working folder there: a file random.py beside the user's data would be executed

from besnet.cli import main

main()
