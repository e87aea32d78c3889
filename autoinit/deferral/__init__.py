"""Fills that constructors apply to parameters: recorded instead of run, and run when somebody looks."""

from .deferrer import Deferrer as Deferrer
from .deferrer import is_plain as is_plain
from .records import Extents as Extents
from .records import Records as Records
from .records import lies_in as lies_in
from .records import put_extent as put_extent
from .records import storage_of as storage_of
