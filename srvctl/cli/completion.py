"""Shell completion of words: addresses, handlers and directories. Families, options and choices are completed by click.

An item of the type ``file`` or ``dir`` has the shell complete paths. It comes first: bash drops the items before it,
and completes paths only if no item after it matches.
"""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from srvctl.loader import builtin

# Key of a context's `meta`: true while the words after ``--`` are completed.
IS_PROGRAM = "srvctl.is_program"

Items = list[CompletionItem]


def paths(ctx: click.Context, param: click.Parameter | None, incomplete: str) -> Items:
    """Complete a path."""
    return [CompletionItem(incomplete, type="file")]


def directories(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the path of a directory."""
    return [CompletionItem(incomplete, type="dir")]


def nothing(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete nothing, as for a host and a port."""
    return []


def handlers(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete a handler: the name of a ready-made one, or a path. After ``--`` it is the path of a program."""
    if ctx.meta.get(IS_PROGRAM):
        return paths(ctx, param, incomplete)
    return [*paths(ctx, param, incomplete), *ready_made_handlers(ctx, param, incomplete)]


def ready_made_handlers(ctx: click.Context, param: click.Parameter, incomplete: str) -> Items:
    """Complete the name of a ready-made handler."""
    return beginning_with(incomplete, (point.name for point in builtin.installed()))


def beginning_with(incomplete: str, words: Iterable[str]) -> Items:
    """Return an item for each of `words` that begins with `incomplete`."""
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
