"""The loss of Eq. 19: matching, the four loss terms, and the choice of confident queries."""
