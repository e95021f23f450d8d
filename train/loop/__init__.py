"""The training loop with Accelerate: a new network, the optimiser's schedule, checkpoints, tracking, the output."""
