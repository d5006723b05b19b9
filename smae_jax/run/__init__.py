"""Runs: folders on disk, checkpoints, trainings in them, and runs applied to measurements."""
