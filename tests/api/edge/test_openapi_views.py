"""The OpenAPI document contains every view that the API declares."""

from __future__ import annotations

import importlib
import pkgutil

import api
from api.edge.openapi import view_schemas, views_of
from api.routers import VIEW_MODULES


def test_every_module_with_views_is_listed_once() -> None:
    """A view in a module that `VIEW_MODULES` lacks would be missing from the document."""
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.walk_packages(api.__path__, f"{api.__name__}.")
    ]
    declaring = sorted(module.__name__ for module in modules if views_of(module))
    assert sorted(module.__name__ for module in VIEW_MODULES) == declaring


def test_each_view_has_a_schema_under_its_name() -> None:
    names = [view.__name__ for module in VIEW_MODULES for view in views_of(module)]
    assert len(set(names)) == len(names)
    assert set(names) <= set(view_schemas(VIEW_MODULES))
