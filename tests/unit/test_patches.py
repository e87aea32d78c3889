"""Counted patches of class methods."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import MethodType
from typing import Any

from autoinit.patches import Patches, around, within


class Base:
    def method(self) -> str:
        return "method"

    def inherited(self) -> str:
        return "inherited"


class Child(Base):
    pass


def louder(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> str:
    return str(wrapped(*args, **kwargs)).upper()


def test_installed_with_the_first_and_undone_with_the_last() -> None:
    patches, original = Patches(), Base.__dict__["method"]
    patches.want(Base, "method", around(louder))
    patches.acquire()
    patches.acquire()
    assert Base().method() == "METHOD"
    patches.release()
    assert Base().method() == "METHOD"
    patches.release()
    assert Base().method() == "method"
    assert Base.__dict__["method"] is original


def test_an_inherited_method_is_patched_in_the_class_and_deleted_again() -> None:
    patches = Patches()
    patches.want(Child, "inherited", around(louder))
    patches.acquire()
    assert (Child().inherited(), Base().inherited()) == ("INHERITED", "inherited")
    patches.release()
    assert "inherited" not in Child.__dict__


def test_more_methods_while_it_is_installed_each_once() -> None:
    patches, original = Patches(), Base.__dict__["method"]
    patches.also(Base, "method", around(louder))
    assert Base.__dict__["method"] is original, "no block is open"
    patches.acquire()
    patches.also(Base, "method", around(louder))
    wrapper = Base.__dict__["method"]
    patches.also(Base, "method", around(louder))
    assert Base.__dict__["method"] is wrapper
    patches.release()
    assert Base.__dict__["method"] is original


def test_a_method_that_somebody_else_replaced_meanwhile_is_theirs() -> None:
    patches, original = Patches(), Base.__dict__["method"]
    patches.want(Base, "method", around(louder))
    patches.acquire()
    ours = Base.__dict__["method"]

    def theirs(self: Base) -> str:
        return f"<{ours(self)}>"

    Base.method = theirs  # type: ignore[method-assign]
    try:
        patches.release()
        assert Base.__dict__["method"] is theirs
    finally:
        Base.method = original  # type: ignore[method-assign]


def test_two_sets_of_patches_on_one_method_may_be_undone_in_any_order() -> None:
    for first_off in (0, 1):
        sets, original = (Patches(), Patches()), Base.__dict__["method"]
        for patches in sets:
            patches.want(Base, "method", around(louder))
            patches.acquire()
        sets[first_off].release()
        assert Base().method() == "METHOD"
        sets[1 - first_off].release()
        assert Base.__dict__["method"] is original


def test_within_a_context_or_not() -> None:
    entered: list[object] = []

    def enter(instance: object) -> AbstractContextManager[None] | None:
        entered.append(instance)
        return nullcontext() if len(entered) > 1 else None

    patches = Patches()
    patches.want(Base, "method", within(enter))
    patches.acquire()
    base = Base()
    bound = base.method
    assert (type(bound), bound(), bound()) == (MethodType, "method", "method")
    assert entered == [base, base]
    patches.release()


def test_a_patch_goes_on_top_of_what_somebody_else_replaced() -> None:
    first, second, original = Patches(), Patches(), Base.__dict__["method"]
    for patches in (first, second):
        patches.want(Base, "method", around(louder))
    first.acquire()
    theirs = Base.method = lambda self: "theirs"  # type: ignore[method-assign]
    try:
        second.acquire()
        assert Base().method() == "THEIRS"
        second.release()
        assert Base.__dict__["method"] is theirs
        first.release()
        assert Base.__dict__["method"] is theirs
    finally:
        Base.method = original  # type: ignore[method-assign]
