"""Data for training: AVSBench files and Parquet shards, augmentation, decoding of rows to clips, and batches."""
