"""Evaluate a checkpoint: `python evaluate.py --ckpt_path runs/NAME`, the same as `besnet evaluate`."""

import sys

from besnet.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
