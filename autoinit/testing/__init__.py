"""Assertions about initialization for users' own test suites; with or without pytest."""

from .assertions import assert_initialized as assert_initialized
from .assertions import assert_no_duplicates as assert_no_duplicates
from .assertions import assert_same_init as assert_same_init
from .snapshots import Snapshots as Snapshots
from .snapshots import assert_snapshot as assert_snapshot
from .snapshots import outline as outline

__all__ = ["Snapshots", "assert_initialized", "assert_no_duplicates", "assert_same_init", "assert_snapshot", "outline"]
