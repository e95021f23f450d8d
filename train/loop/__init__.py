"""The training loop with Accelerate: model, optimiser and schedule, checkpoints, tracking, and the output folder."""
