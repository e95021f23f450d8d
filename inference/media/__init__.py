"""Reading and writing videos: what a video holds, its frames in time with their sound, and a video with overlays."""
