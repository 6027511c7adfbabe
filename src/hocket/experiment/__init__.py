"""Experiments as files: a strict TOML document that fixes tasks, fleet, strategy, stop rule and seed."""

from hocket.experiment.document import FILE, Experiment, load, parse

__all__ = ["FILE", "Experiment", "load", "parse"]
