"""Files and folders that appear whole, runs that do not disturb each other, and what a stopped run leaves."""
