"""`python -m besnet`, the same as `besnet`."""

from besnet.cli import main

main()
