"""Reading and writing videos: probing a file, its frames with their times and sound, and videos with overlays."""
