"""Published image weights: where they are, how their tensors are named, and whether they are the backbone's network."""
