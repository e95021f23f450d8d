"""The demonstration for new users, `auss demo`."""
