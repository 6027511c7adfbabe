"""Every public name says what it is, and every setting of a method what it means."""

import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import hocket as hk
from hocket import policies, testing
from hocket.experiment.reference import shared
from hocket.learning import data, learner, loaders, local, numpy_learner, torch_learner

MODULES = [getattr(hk, n) for n in hk.__all__ if isinstance(getattr(hk, n), ModuleType)]
MODULES += [testing, policies, data, learner, local, loaders, numpy_learner, torch_learner]


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    names = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    for name in names:
        thing = getattr(module, name)
        if callable(thing) and getattr(thing, "__module__", "").startswith("hocket"):
            yield f"{module.__name__}.{name}", thing


NAMES = {f"hk.{n}": getattr(hk, n) for n in hk.__all__ if not isinstance(getattr(hk, n), ModuleType)}
NAMES |= {name: thing for module in MODULES for name, thing in public(module)}
CONTRACT = {
    name
    for contract in vars(policies).values()
    if getattr(contract, "_is_protocol", False)
    for name, method in vars(contract).items()
    if not name.startswith("_") and (method.fget if isinstance(method, property) else method).__doc__
}
"""Methods that a contract documents; whoever keeps to it need not say it again."""


def own(thing: Any) -> str:
    """The docstring that somebody wrote, not one that a base class or msgspec made."""
    if inspect.isclass(thing):
        text = thing.__dict__.get("__doc__") or ""
        return "" if text.startswith(f"{thing.__name__}(") else inspect.cleandoc(text)
    return inspect.getdoc(thing) or ""


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_says_what_it_is(name: str) -> None:
    """The docstring begins with a sentence; so do those of its public methods, unless a contract says it."""
    text = own(NAMES[name])
    assert re.match(r"[^\n]+(\n[^\n]+)*?[.:?](\s|$)", text), f"{name} has no sentence: {text[:60]!r}"
    if not inspect.isclass(NAMES[name]) or issubclass(NAMES[name], tuple):
        return
    for method, thing in vars(NAMES[name]).items():
        function = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
        if inspect.isfunction(function) and not method.startswith("_") and method not in CONTRACT:
            assert inspect.getdoc(getattr(NAMES[name], method)), f"{name}.{method} has no docstring"


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_a_module_says_what_it_is(module: ModuleType) -> None:
    assert (module.__doc__ or "").strip()


@pytest.mark.parametrize("name", hk.strategies.__all__)
def test_a_setting_of_a_method_says_what_it_means(name: str) -> None:
    """In the method's docstring, in its module's, or among the settings that several share."""
    method = getattr(hk.strategies, name)
    known = {n for names in shared() for n in names.split(", ")}
    texts = (inspect.getdoc(method), inspect.getdoc(inspect.getmodule(method)))
    text = " ".join((text or "").split(">>>")[0] for text in texts)
    silent = [p for p in inspect.signature(method).parameters if p not in known and not re.search(rf"\b{p}\b", text)]
    assert not silent, f"{name}: nothing says what {', '.join(silent)} mean"
