"""How a person names a registered model or a version of one, and what completes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from bis.cli.command import Completed, Door, door_of
from bis.text import plain

if TYPE_CHECKING:
    from bis.nouns.reference import ModelReference


class ModelName(Completed):
    """Completes the names of models; behind a `/` or `@`, their versions and aliases."""

    name = "model"

    def completions(self, ctx: click.Context, incomplete: str) -> Iterable[CompletionItem]:
        from bis.acts.registry import models, show

        door = door_of(ctx)
        name = incomplete.partition("/")[0].partition("@")[0]
        if name != incomplete:
            found = show(door.home, name)
            words = [(f"{name}/{one.number}", f"{one.stage}, {one.description}") for one in found.versions]
            words += [(f"{name}@{alias}", f"version {number}") for alias, number in found.model.aliases.items()]
        else:
            words = [(one.model.name, one.model.description) for one in models(door.home)]
        for word, told in words:
            if plain(word).startswith(incomplete):
                yield CompletionItem(plain(word), help=told)


def model_reference(door: Door, text: str) -> ModelReference:
    """As it was typed, by the clock of this machine."""
    from bis.nouns.reference import parse_model

    return parse_model(text, door.now.astimezone().replace(tzinfo=None))
