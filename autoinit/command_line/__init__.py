"""The command `autoinit`: plan, trace, initialize, verify and compare models from a terminal."""

from .main import main as main
