"""Formats of the files that besnet writes: their numbers, and the migrations of older ones."""
