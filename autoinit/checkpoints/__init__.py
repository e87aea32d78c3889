"""Checkpoints: found or fetched, checked before anything is written, read one tensor at a time.

Nothing that a file says is run: pickles are read with `weights_only=True` and nothing else.
"""

from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import open_checkpoint as open_checkpoint
from .location_schemes import register_checkpoints as register_checkpoints
