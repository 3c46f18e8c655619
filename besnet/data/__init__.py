"""Videos with labels: prepared once into a manifest, read by index, drawn by position."""
