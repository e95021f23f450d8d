"""Training and scoring: data sets (`data/`), the composer, the Accelerate loop, evaluation, the paper's tables."""
