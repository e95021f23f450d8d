"""Training and scoring: data sets (`data/`), the composer, the Accelerate loop, evaluation, and the paper's tables."""
