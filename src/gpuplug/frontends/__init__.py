"""What the user touches; each file imports its own framework and the engine, nothing else."""
