"""Data sets in AVSBench's layout, composed of cut-out pictures and sounds, drawn and synthesised ones by default."""
