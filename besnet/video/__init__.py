"""Bytes in, frames out: probe, exact decoding with PyAV or decord, and the choice of frames by time."""
