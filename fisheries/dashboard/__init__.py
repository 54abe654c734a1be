"""What wandb shows of runs, and how a project of runs is laid out there."""
