"""The hook on `nn.Module.__init__`, and the blocks that it reports to."""

from .block import Block as Block
from .block import autoinit as autoinit
from .built import living_roots as living_roots
from .extents import Observer as Observer
from .extents import paused as paused
from .hook import close_recorder as close_recorder
from .hook import open_recorder as open_recorder
from .scope import Run as Run
from .scope import remember as remember
