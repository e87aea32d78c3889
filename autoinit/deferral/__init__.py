"""Fills that constructors apply to parameters: recorded instead of run, and run when somebody looks."""

from .deferrer import Deferrer as Deferrer
from .deferrer import is_plain as is_plain
from .extents import Extents as Extents
from .extents import lies_in as lies_in
from .extents import put_extent as put_extent
from .guards import storage_of as storage_of
from .records import Records as Records
