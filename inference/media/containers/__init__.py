"""Files and addresses as FFmpeg opens them: what is decoded, when each frame is shown, what a container can hold."""
