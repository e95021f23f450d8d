"""Makes a data set of the user's own videos and their labels: `auss import`."""
