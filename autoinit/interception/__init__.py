"""The hook on `nn.Module.__init__`, and the blocks that it reports to."""

from .block import Block as Block
from .block import autoinit as autoinit
from .built import living_roots as living_roots
from .extents import Observer as Observer
from .extents import paused as paused
from .hook import close_extent as close_extent
from .hook import open_extent as open_extent
from .scope import Run as Run
from .scope import remember as remember
