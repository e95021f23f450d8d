"""Files and folders that appear whole, runs that do not disturb each other, what a stopped run leaves, and saving."""
