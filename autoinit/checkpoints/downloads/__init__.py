"""Files from http and https, kept so that each is fetched once and never replaced by anything less."""

from .digests import digest_of as digest_of
from .digests import named_digest as named_digest
from .digests import remembered_digest as remembered_digest
from .fetching import download as download
