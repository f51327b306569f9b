"""Who may call a route: each view says the scope that it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

Scope = Literal["public", "write", "read", "edit", "admin"]
View = TypeVar("View", bound=Callable[..., Any])


def needs(scope: Scope) -> Callable[[View], View]:
    """Mark a view with the scope that its callers need; `create_app` refuses a route whose view has no mark."""

    def mark(view: View) -> View:
        view.scope = scope  # type: ignore[attr-defined]
        return view

    return mark
