"""Published image weights: where they are, how their tensors are named, and whether they fit the backbone."""
