"""What to do with the masks of a video: look at them, write them to files, and sum up what sounded when."""
