"""What `auss export` is made of: the two graphs for videos, and the comparison of a graph with the model."""
