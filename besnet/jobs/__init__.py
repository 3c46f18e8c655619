"""What surrounds training processes: starting, starting again, job files, and a look at the machine before."""
