"""`AussConfig`, which describes the network and the weights of its losses, and the presets as JSON files."""
