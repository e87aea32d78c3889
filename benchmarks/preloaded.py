"""Imported by the process that is copied for every call: it brings in the libraries, by building a model of each."""

from __future__ import annotations

import gc
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mmengine.model  # noqa: F401

    from .subjects import SUBJECTS

    for subject in SUBJECTS.values():
        subject.small()

# The collector looks at none of this again: in a copy that would take longer than what is measured.
gc.collect()
gc.freeze()
