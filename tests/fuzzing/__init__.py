"""Fuzzing: configs, texts, names and checkpoints that nobody would write, applied to small models.

A case may succeed or raise an `AutoInitError`. Anything else is a finding.
"""
