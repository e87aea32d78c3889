"""The hook on `nn.Module.__init__`, and the blocks that it reports to."""

from .block import Block as Block
from .block import autoinit as autoinit
from .scope import Run as Run
from .scope import paused as paused
from .scope import remember as remember
