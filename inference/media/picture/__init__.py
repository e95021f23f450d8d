"""The pictures of a video: orientation, colours and dynamic range, filters, and drawing on their planes."""
