"""Composes data sets in AVSBench's layout from cut-out pictures and sounds. By default both are drawn and
synthesised."""
