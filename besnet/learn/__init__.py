"""From a folder of videos to a trained network: a split, a config, a training and its evaluation in one command."""
