"""What is done in parts, on Slurm and on Kubernetes: stages with a task for each part, and then a last job."""

# {verb: {what a stage is called after the job's name: the argument of a task, to which NUMBER/COUNT is added}}
STAGES = {
    "prepare": {"": "--part="},
    "lab": {"": "--part=train:", "-evaluate": "--part=evaluate:"},
}
LAST = "-last"  # the command itself: it does what is left, and ends the work
