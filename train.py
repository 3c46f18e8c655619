"""Train a network: `python train.py --config configs/stick_figures.yaml`, the same as `besnet train`."""

import sys

from besnet.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
