"""The pictures of a video: orientation, colours, dynamic range, filters, and drawing on colour planes."""
