"""`AussConfig`, which says what network is built and how it is trained, and the presets as JSON."""
