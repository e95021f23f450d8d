"""AVSBench as its authors ship it, or as Parquet shards; augmentation; rows into clips, clips into batches."""
