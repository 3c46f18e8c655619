"""How fast the networks are here: timings by alternation, beside a matrix product of the same run."""
