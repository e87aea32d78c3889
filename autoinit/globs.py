"""Patterns over module FQNs and parameter names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from functools import lru_cache

from .errors import ConfigError

WILDCARDS = frozenset("*?[")
TRANSLATED = re.compile(r"^\(\?s:(.*)\)\\[zZ]$", re.DOTALL)
TOKENS = re.compile(r"\*+|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)
Predicate = Callable[[str], bool]


def is_plain(pattern: str) -> bool:
    """Whether a pattern names exactly one thing.

    Example:
        >>> is_plain("layer1.0.conv1"), is_plain("layer*.conv1"), is_plain("re:conv.")
        (True, False, False)
    """
    return not pattern.startswith("re:") and not WILDCARDS & set(pattern)


@lru_cache(maxsize=4096)
def fqn_pattern(pattern: str) -> Predicate:
    """A predicate over dotted names: `*` stays within one component, `**` stands for any number of components.

    `re:` starts a regular expression that has to match the whole name.

    Raises:
        ConfigError: a regular expression that does not compile.

    Example:
        >>> [
        ...     name
        ...     for name in ("attn", "blocks.0.attn", "blocks.0.attn.qkv")
        ...     if fqn_pattern("**.attn")(name)
        ... ]
        ['attn', 'blocks.0.attn']
        >>> fqn_pattern("layer*.conv1")("layer1.0.conv1")
        False
    """
    if pattern.startswith("re:"):
        return _regex(pattern, pattern[3:])
    written = pattern.split(".")
    # A `**` right after another has nothing left to stand for.
    parts = [part for part, before in zip(written, ["", *written], strict=False) if not part == before == "**"]
    expression = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            # The dot belongs to the wildcard, so that it vanishes along with the components.
            if not last:
                expression += r"(?:[^.]+\.)*"
            elif index:
                expression = expression.removesuffix(r"\.") + r"(?:\.[^.]+)*"
            else:
                expression += r".*"
        else:
            expression += _component(part) + ("" if last else r"\.")
    return _regex(pattern, expression)


@lru_cache(maxsize=4096)
def param_pattern(pattern: str) -> Predicate:
    """A predicate over one module's parameter names.

    Raises:
        ConfigError: a regular expression that does not compile.

    Example:
        >>> param_pattern("*_embed")("pos_embed"), param_pattern("weight")("weight_g")
        (True, False)
    """
    return _regex(pattern, pattern[3:] if pattern.startswith("re:") else _component(pattern))


def _component(part: str) -> str:
    """A glob over one component as a regular expression whose wildcards cannot cross a dot."""
    if part and set(part) == {"*"}:
        return "[^.]+"
    return "".join(map(_wildcard, TOKENS.findall(part)))


def _wildcard(token: str) -> str:
    if token.startswith("*"):
        return "[^.]*"
    if token == "?":
        return "[^.]"
    if token.startswith("[") and len(token) > 1:
        # fnmatch knows what may stand in a class; the lookahead keeps "[!a]" and ranges from taking a dot.
        return r"(?!\.)" + TRANSLATED.sub(r"\1", fnmatch.translate(token))
    return re.escape(token)


def _regex(pattern: str, expression: str) -> Predicate:
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise ConfigError(f"{pattern!r} is not a regular expression: {error}.") from error
    return lambda name: compiled.fullmatch(name) is not None
