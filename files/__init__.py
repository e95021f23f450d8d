"""Writes files and folders completely or not at all, keeps runs apart, cleans up after stopped runs, saves models."""
