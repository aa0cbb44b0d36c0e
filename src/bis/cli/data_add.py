"""`bis data add`: what each way of adding does, and what is said of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from bis.cli.command import Door, byte_meter
from bis.cli.data_words import home_of, near
from bis.digest import spell
from bis.errors import UsageError
from bis.text import count, plain

if TYPE_CHECKING:
    from bis.steps.add_data import Added, Adding
    from bis.steps.home import Home


def checked_url(path: str, by_reference: bool, pointer: bool, layout: str | None) -> str:
    """The URL that was typed in place of a path; empty where there is none. Raises UsageError for what cannot be."""
    from bis.steps.urls import clean, is_typed_url, local_path

    if not is_typed_url(path) or local_path(path):
        return ""
    shown = shlex.quote(clean(path).url)
    if not by_reference:
        raise UsageError(
            f"{shown} is a URL, and what lies there is not copied",
            because="Its checksum is noted, and it is checked when it is used.",
            hint=f"bis data add --by-reference {shown}; or fetch it yourself and add the file",
        )
    if pointer or layout:
        what = "--pointer" if pointer else "--layout"
        raise UsageError(f"{what} is for files on this disk", hint=f"bis data add --by-reference {shown}")
    return path


def add_by_url(door: Door, adding: Adding, as_json: bool) -> int:
    from bis.steps.add_url import add_url
    from bis.steps.home import provisional
    from bis.steps.urls import clean

    with provisional(home_to_add(door, door.project)) as home:
        added = add_url(adding, home, byte_meter(door.terminal))
    door.terminal.settle()
    show_added(door, added, False, as_json)
    if removed := clean(adding.url).removed:
        door.terminal.tell(
            f"help: not recorded, as it gives access: {', '.join(map(plain, removed))}; a password that is asked for"
            " later is looked for in ~/.netrc"
        )
    return 0


def take_in(door: Door, adding: Adding, layout: str, home: Home, as_json: bool) -> int:
    from bis.acts.data_layout import take_in as act
    from bis.cli import page_data
    from bis.steps import data_told

    done = act(adding, "kedro" if layout == "kedro" else "dated", home, door.terminal.progress)
    if as_json:
        rows = [{"new": one.new, "version": data_told.told(one.held)} for one in done]
        door.terminal.json("bis.data.add/1", {"added": rows})
        return 0
    lines = [line for one in done for line in page_data.added_lines(one, door.terminal)]
    new = sum(one.new for one in done)
    door.terminal.show([*lines, f"{count(new, 'version')} added, {len(done) - new:,} there already"])
    return 0


def show_added(door: Door, added: Added, pointer: bool, as_json: bool) -> None:
    from bis.cli import page_data
    from bis.steps import data_told

    terminal = door.terminal
    if as_json:
        told = {"new": added.new, "version": data_told.told(added.held), "findings": added.findings}
        before = added.before.reference if added.before else None
        terminal.json(
            "bis.data.add/1", {**told, "before": before, "like": added.like or None, "pointer": added.pointer}
        )
        return
    terminal.show(page_data.added_lines(added, terminal))
    for finding in added.findings:
        terminal.tell(f"help: left out: {plain(finding.text)}")
    if added.pointer:
        shown = near(added.pointer, door.folder)
        terminal.tell(f"wrote  {plain(spell(shown))}, to be committed")
        line, ignore = f"/{added.pointer.name.removesuffix('.bis')}", added.pointer.with_name(".gitignore")
        if pointer and not (ignore.is_file() and line in ignore.read_text("utf-8", "replace").splitlines()):
            where = shlex.quote(near(ignore, door.folder))
            terminal.tell(f"help: keep the data out of Git: echo {shlex.quote(line)} >> {where}")


def home_to_add(door: Door, path: Path) -> Home:
    """The home; made, where there is none, or no more than the name of a remote, and there is something to add."""
    return door.opened_home(recording=True) if path.exists() else home_of(door)
