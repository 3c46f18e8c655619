"""Starts and restarts training processes, writes job files, and checks a machine before a training."""
