"""Using a trained model: the command line, video reading and writing, drawing, and the Transformers pipeline."""
