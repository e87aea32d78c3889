"""Seeds that `torch.manual_seed` takes as well."""

from __future__ import annotations

from hypothesis import strategies as st

LARGEST = 2**64 - 1
"""What a `torch.Generator` can be seeded with."""


def seeds() -> st.SearchStrategy[int]:
    """Seeds: small ones, those around the words of a generator, and any from 0 to 2**64 - 1; shrinks to 0.

    Example:
        >>> from hypothesis import find
        >>> from autoinit.testing.strategies import seeds
        >>> find(seeds(), lambda seed: True), find(seeds(), lambda seed: seed >= 2**32)
        (0, 4294967296)
    """
    edges = st.sampled_from((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, LARGEST))
    return st.one_of(edges, st.integers(0, 100), st.integers(0, LARGEST))
