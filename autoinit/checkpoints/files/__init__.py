"""What is in a file. Nothing that a file says is run: pickles are read with `weights_only=True` and nothing else."""

from .entries import Contents as Contents
from .entries import Entry as Entry
from .index_format import is_index as is_index
from .index_format import read_index as read_index
from .reading import check_whole as check_whole
from .reading import read_contents as read_contents
from .reading import read_tensors as read_tensors
from .source import Source as Source
from .source import Stamp as Stamp
