"""The loss of Eq. 19: matching, the four terms, and which queries count as confident; apart from the forward pass."""
