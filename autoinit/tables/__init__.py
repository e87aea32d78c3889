"""Tables as text that fits a terminal, and results that print as one."""

from .folding import NUMBER as NUMBER
from .folding import folded_names as folded_names
from .listing import listed as listed
from .result import Result as Result
from .result import set_page_writer as set_page_writer
from .table import LONG as LONG
from .table import Table as Table
from .table import printable as printable
from .table import terminal_width as terminal_width
from .table import wrapped as wrapped
