"""Replays a trace of real work through the scheduler's own ``plan`` in simulated time."""
