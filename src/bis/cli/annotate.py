"""`bis tag` and `bis note`: what a person says of a run, to find it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from bis.cli.command import STATUSES, Door, RunReference, command, json_option
from bis.digest import spell
from bis.errors import NotFound, UsageError
from bis.text import plain

if TYPE_CHECKING:
    from bis.nouns.annotation import Annotation
    from bis.nouns.run import Run


@command(
    "tag",
    short_help="Give tags to a run, to find it by.",
    statuses={3: "there is no such run, or it has no such tag", 5: STATUSES[5]},
    examples=["bis tag train-12 team=fraud state=final", "bis tag train-12 --remove state", "bis tag train-12"],
)
@click.option("--remove", multiple=True, metavar="NAME", help="Take this tag away; may be given again.")
@json_option
@click.argument("run", type=RunReference(), metavar="RUN")
@click.argument("tags", nargs=-1, metavar="[NAME=VALUE]...")
def tag(door: Door, run: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> int:
    """Set tags of RUN, or take some away. Then, or when there are none to set, list the tags that it has. What was
    recorded of the run stays as it is: tags lie beside it, and `bis log -f "tags.NAME = 'VALUE'"` finds it.
    """
    wanted = dict(_pair(text) for text in tags)
    found = door.find(run)
    has = _tags(door, found)
    for name in remove:
        if name not in has:
            raise NotFound(f"{plain(found.name)} has no tag {name!r}", hint=f"bis tag {found.id[:8]}")
    if wanted or remove:
        _say(door, found, tags=wanted, removed=tuple(remove))
        has = _tags(door, found)
    if as_json:
        door.terminal.json("bis.tag/1", {"run": found.id, "tags": has})
    else:
        rows = [[plain(name), plain(value)] for name, value in has.items()]
        door.terminal.show(door.terminal.aligned(rows) if door.terminal.tty else ["\t".join(row) for row in rows])
        if not has:
            door.terminal.tell(f"{plain(found.name)} has no tags")
    return 0


@command(
    "note",
    short_help="Write a remark on a run.",
    statuses={3: STATUSES[3], 5: STATUSES[5]},
    examples=["bis note train-12 'the one that we ship'", "bis log -f \"note LIKE '%ship%'\""],
)
@json_option
@click.argument("run", type=RunReference(), metavar="RUN")
@click.argument("words", nargs=-1, required=True, metavar="TEXT...")
def note(door: Door, run: str, words: tuple[str, ...], as_json: bool) -> int:
    """Write a remark on RUN, with the time and who wrote it. Earlier remarks stay; `bis show` shows all of them, and
    `bis log` the newest.
    """
    found = door.find(run)
    said = _say(door, found, note=spell(" ".join(words)))
    if as_json:
        door.terminal.json("bis.note/1", {"run": found.id, "note": said})
    else:
        door.terminal.say("noted", f"on {plain(found.name)} ({found.id[:8]})")
    return 0


def _say(
    door: Door,
    run: Run,
    *,
    tags: Mapping[str, str] = MappingProxyType({}),
    removed: tuple[str, ...] = (),
    note: str = "",
) -> Annotation:
    from bis.acts.annotate import annotate
    from bis.nouns.annotation import Annotation
    from bis.steps.here import now, user_here

    said = Annotation(run=run.id, made=now(), user=user_here(), tags=dict(tags), removed=removed, note=note)
    return annotate(said, door.home)


def _tags(door: Door, run: Run) -> dict[str, str]:
    from bis.nouns.annotation import tags_after

    return tags_after(door.home.ledger.annotations(run.id))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{text!r} is not NAME=VALUE", hint=f"bis tag RUN {shlex.quote(text)}=yes")
    return spell(name), spell(value)
