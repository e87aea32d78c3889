"""The hook on `nn.Module.__init__`, and the blocks that it reports to."""

from .block import Block as Block
from .block import autoinit as autoinit
from .context import paused as paused
from .run import Run as Run
from .run import remember as remember
