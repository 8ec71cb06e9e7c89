"""Pairplay teaches a reinforcement-learning agent what a person wants, from comparisons of short clips."""

from importlib.metadata import version

__version__ = version("pairplay")
