"""The infrastructure part: what a run stands on, declared in files of the project and observed.

Facts, each left out where it is not known:

    kernel, libc, time zones, host      as text
    distribution    name, id, version
    container       signs of one, and the `image` where it was handed in (variable BIS_IMAGE)
    limits          of the control group: cpu, memory
    file systems    types, of the project and of temporary files
    modules         environment modules that are loaded
    packages        of the operating system: manager, count; all of them are the blob `trees["packages"]`
    used            after a run that was traced completely: the packages whose libraries and programs it opened
    unowned         shared libraries of the system that it opened and no package has: path -> digest
    programs        executed from outside the project, its environment and the system: path -> digest
    declared        files with path, role, digest, images, floating (line, code, what, why, hint), pins, trouble
    declared partly True when the project was too large to be looked through for them

Declared files are kept in the tree `declared`: with no version control, the code does not have them. Those that hold
credentials are not; their digest is made with the key of the store. Small programs are kept in the tree `programs`.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bis.digest import Digest, digest_bytes, digest_value, keyed_digest, readable, short, spell, unspell
from bis.errors import BisError, counted
from bis.nouns.part import Change, Finding, Part, PartKind, Weight
from bis.parts import Place, Scene, system
from bis.parts.declared import MAKES_IMAGES, Declaration, Memory, declarations
from bis.parts.images import parse_image
from bis.parts.origin import environment_folders
from bis.parts.programs import is_kept, programs
from bis.parts.secret import hide, is_secret_file
from bis.parts.surroundings import in_container, surroundings, surroundings_in
from bis.store import Store, snapshot
from bis.store.statcache import digest_known

KIND: PartKind = "infrastructure"
SYSTEM = ("/usr/", "/lib/", "/lib32/", "/lib64/", "/bin/", "/sbin/", "/opt/")
AT_NEED = ("libnvidia-ptxjitcompiler.so", "libnvidia-nvvm.so")
"""Libraries of a driver that are opened when no earlier run has left its compiled kernels behind. They are as the
driver's version says, which the machine part has."""
LATER = ("packages", "used", "unowned", "programs")
"""Facts that are found out anew when a run has ended."""
FOLDED = 20
"""From so many changes of no weight, packages are told in one line."""


def capture(scene: Scene, store: Store, earlier: Part | None = None) -> Part:
    """Declared files and the system around the run; after it, which packages and libraries it used.

    The digest is over declared files, kernel (without its patch level), C library, distribution, packages, image,
    libraries of no package, and programs.
    """
    project = scene.real(spell(str(scene.project)))
    # What was so when the run began is what counts when it has ended.
    facts = {name: value for name, value in earlier.facts.items() if name not in LATER} if earlier else {}
    if "declared" not in facts:
        facts = _surroundings(scene) | _declared(scene, project)
    packages, findings = _packages(scene)
    trees: dict[str, Digest] = {}
    if earlier and "declared" in earlier.trees:
        trees["declared"] = earlier.trees["declared"]
    elif kept := [one["path"] for one in facts["declared"] if not _secret(one, scene)]:
        pairs = ((path, project / unspell(path)) for path in kept)
        trees["declared"] = snapshot.put_paths(pairs, store, scene.cache, modes="exec", notes=findings)
    if packages:
        facts["packages"] = {"manager": packages.manager, "count": len(packages.versions)}
        trees["packages"] = _keep(packages, store)
        facts |= _used(scene, packages)
    if executed := programs(scene):
        facts["programs"] = {path: digest_known(os.fspath(scene.real(path)), scene.cache) for path in executed}
        if places := _kept_programs(executed, scene):
            trees["programs"] = snapshot.put_paths(places, store, scene.cache, modes="exec", notes=findings)
    findings += [*_floating(facts), *_drift(facts, packages), *_changed(earlier, trees)]
    identity = _identity(facts, trees)
    return Part(
        kind=KIND,
        digest=digest_value(identity),
        summary=_summary(facts),
        trees=trees,
        facts=facts,
        findings=tuple(findings),
    )


def restore(part: Part, place: Place, store: Store) -> None:
    """Declared files that did not come back with the code, and the programs that were kept. The system itself is the
    machine's."""
    for role, into in (("declared", place.project), ("programs", place.outside)):
        if role in part.trees and into is not None:
            snapshot.restore(store, part.trees[role], into, only=_absent(into))


def _absent(into: Path) -> Callable[[str], bool]:
    return lambda path: not (into / unspell(path)).exists()


def compare(before: Part, after: Part, store: Store) -> list[Change]:
    """What a result may depend on first. Packages weigh when the run used them, or when that is not known; a
    declaration weighs when it says what the run was in."""
    if before.digest == after.digest:
        return []
    old, new = before.facts, after.facts
    changes = [*_plain(old, new), *_package_changes(before, after, store), *_declared_changes(old, new)]
    return sorted(changes, key=lambda change: change.weight == "minor")


def _surroundings(scene: Scene) -> dict[str, Any]:
    found = surroundings(scene.project, scene.variables)
    if not scene.image:
        return found
    found |= surroundings_in(scene.system, scene.image)
    return {name: value for name, value in found.items() if value}


def _declared(scene: Scene, project: Path) -> dict[str, Any]:
    file = None if scene.locate else cache_folder(scene) / "declared" / f"{_name(project)}.json"
    memory = _recall(file)
    found, complete = declarations(project, memory, scene.cache.now() if scene.cache else time.time_ns())
    _remember(file, memory)
    facts: dict[str, Any] = {"declared": [_without_secrets(one, scene) for one in found]}
    return facts if complete else facts | {"declared partly": True}


def _without_secrets(one: Declaration, scene: Scene) -> dict[str, Any]:
    key = scene.key
    floating = tuple(
        msgspec.structs.replace(item, what=hide(item.what, key), hint=hide(item.hint, key)) for item in one.floating
    )
    facts: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(one, floating=floating))
    if _secret(facts, scene):
        facts["digest"] = keyed_digest(scene.key, one.digest)
    return facts


def _secret(one: Mapping[str, Any], scene: Scene) -> bool:
    """Values of Terraform variables are where its credentials are."""
    return one["role"] == "terraform variables" or is_secret_file(unspell(one["path"]), scene.settings.secrets)


def cache_folder(scene: Scene) -> Path:
    """Where the user's caches of bis are."""
    return Path(scene.variables.get("XDG_CACHE_HOME") or scene.home / ".cache") / "bis"


def _name(project: Path) -> str:
    return hashlib.sha256(os.fsencode(project)).hexdigest()[:24]


def _recall(file: Path | None) -> Memory:
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=Memory) if file else Memory()
    except (OSError, msgspec.DecodeError):
        return Memory()
    return kept if kept.version == Memory().version else Memory()


def _remember(file: Path | None, memory: Memory) -> None:
    """A cache: where it cannot be written, the files are read again."""
    if file is None:
        return
    content = msgspec.json.encode(memory)
    try:
        if memory.files and (not file.exists() or file.read_bytes() != content):
            file.parent.mkdir(parents=True, exist_ok=True)
            coming = file.with_name(f"{file.name}.{os.getpid()}")
            coming.write_bytes(content)
            coming.replace(file)
    except OSError:
        pass


def _packages(scene: Scene) -> tuple[system.Packages | None, list[Finding]]:
    try:
        if not scene.image:
            return system.observe(cache_folder(scene)), []
        # Remembered beside the files of the image, as the cache of the user has what the machine has.
        found = system.observe(scene.system.parent, scene.system)
        return found, [] if found else list(_unknown(scene))
    except (OSError, ValueError) as error:
        text = f"The packages of the operating system are not known: {error}"
        return None, [Finding(code="system-packages-unknown", text=text)]


def _unknown(scene: Scene) -> Iterator[Finding]:
    text = f"Which packages the system of {scene.image} has is not known: it has no database of a package manager."
    yield Finding(code="system-packages-unknown", text=text, blocks=True)


def _keep(packages: system.Packages, store: Store) -> Digest:
    text = packages.text
    digest = digest_bytes(text)
    return digest if store.has(digest) else store.put_bytes(text)


def _kept_programs(paths: Iterable[str], scene: Scene) -> list[tuple[str, Path]]:
    """Those that are to be kept: path without the slash at its start -> where the bytes are."""
    places = ((path[1:], scene.real(path).resolve()) for path in paths)
    return [(path, place) for path, place in places if is_kept(path, place)]


def _is_library(path: str) -> bool:
    name = path.rpartition("/")[2]
    return ".so" in name and not name.startswith(AT_NEED)


def _used(scene: Scene, packages: system.Packages) -> dict[str, Any]:
    if scene.trace is None or not scene.trace.complete:
        return {}
    own = tuple(f"{folder}/" for folder in environment_folders(scene.reports))
    own += tuple(f"{report.base_prefix}/lib/python" for report in scene.reports if report.base_prefix)
    used, unowned = set[str](), dict[str, str]()
    for access in scene.trace.accesses:
        path = access.path
        if not access.before or not path.startswith(SYSTEM):
            continue
        if path.startswith("/usr/share/zoneinfo/"):
            used.add("tzdata")
        elif ".so" in path or "x" in access.how:
            owner = packages.owner(path)
            if owner:
                used.add(owner)
            elif _is_library(path) and not path.startswith(own) and access.was_read:
                unowned[path] = digest_known(os.fspath(scene.real(path)), scene.cache)
    found: dict[str, Any] = {"used": sorted(used & packages.versions.keys())}
    return found | ({"unowned": dict(sorted(unowned.items()))} if unowned else {})


def _identity(facts: Mapping[str, Any], trees: Mapping[str, Digest]) -> dict[str, Any]:
    distribution = facts.get("distribution", {})
    return {
        "declared": {one["path"]: one["digest"] for one in facts.get("declared", ())},
        "kernel": _release(facts),
        "libc": facts.get("libc"),
        "distribution": [distribution.get("id"), distribution.get("version")],
        "packages": trees.get("packages"),
        "image": facts.get("container", {}).get("image"),
        "modules": facts.get("modules"),
        "unowned": facts.get("unowned"),
        **({"programs": facts["programs"]} if "programs" in facts else {}),
    }


def _release(facts: Mapping[str, Any]) -> str:
    """`Linux 6.18`, of `Linux 6.18.44-generic`."""
    name, _, release = facts.get("kernel", "").partition(" ")
    return f"{name} {'.'.join(release.split('.')[:2])}".strip()


def _summary(facts: Mapping[str, Any]) -> str:
    words = [facts.get("distribution", {}).get("name", ""), _release(facts), facts.get("libc", "")]
    if "packages" in facts:
        words.append(counted(facts["packages"]["count"], "system package"))
    if in_container(facts):
        words.append(facts["container"].get("image") or "in a container")
    if count := len(facts.get("declared", ())):
        words.append(counted(count, "declaration"))
    return ", ".join(filter(None, words))


def _floating(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """One finding for a kind of floating reference in a file that says what a training runs in; of files that say
    something else the facts tell."""
    for one in facts.get("declared", ()):
        path = readable(one["path"])
        if one.get("trouble"):
            text = f"{path} could not be read as {one['role']}: {one['trouble']}"
            yield Finding(code="unreadable-declaration", text=text)
        if one["role"] not in MAKES_IMAGES:
            continue
        kinds: dict[str, list[Mapping[str, Any]]] = {}
        for item in one.get("floating", ()):
            kinds.setdefault(item["code"], []).append(item)
        for code, items in kinds.items():
            more = f" (and {len(items) - 1} more like it)" if len(items) > 1 else ""
            text = f"{path}:{items[0]['line']}: {items[0]['what']} {items[0]['why']}{more}"
            yield Finding(code=code, text=text, hint=items[0].get("hint", ""))
    if facts.get("declared partly"):
        text = "The project was too large to look for declared infrastructure everywhere."
        yield Finding(code="declarations-bounded", text=text)


def _drift(facts: Mapping[str, Any], packages: system.Packages | None) -> Iterator[Finding]:
    """Where what is declared for a container is not what is observed in it."""
    if not in_container(facts):
        return
    declared = [msgspec.convert(one, Declaration) for one in facts.get("declared", ())]
    dockerfiles = [one for one in declared if one.role == "dockerfile"]
    # With several of them, which one made this container is not known.
    for one in dockerfiles if len(dockerfiles) == 1 and packages else ():
        assert packages
        for pin in one.pins:
            name, _, wanted = pin.partition("=")
            has = packages.versions.get(name)
            if has is None or not fnmatch.fnmatchcase(has, wanted):
                here = f"has {has}" if has else "does not have it"
                yield _drifted(f"{readable(one.path)} asks for {pin}, and this container {here}")
    image = parse_image(facts["container"].get("image", ""))
    for one in declared if image else ():
        assert image
        for named in filter(None, map(parse_image, one.images)):
            if named.repository == image.repository and (named.tag, named.digest) != (image.tag, image.digest):
                yield _drifted(f"{readable(one.path)} names {named}, and this container runs {image}")


def _drifted(text: str) -> Finding:
    return Finding(code="infrastructure-drift", text=text, hint="build the image again, or change the declaration")


def _changed(earlier: Part | None, trees: Mapping[str, Digest]) -> Iterator[Finding]:
    if earlier and "packages" in earlier.trees and earlier.trees["packages"] != trees.get("packages"):
        text = "Packages of the operating system were installed or removed while the run was under way."
        yield Finding(code="system-packages-changed", text=text)


def _plain(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    """Single facts, libraries that no package has, and programs from elsewhere."""
    rows: list[tuple[str, Any, Any, Weight]] = [
        ("C library", old.get("libc"), new.get("libc"), "matters"),
        ("distribution", _named(old), _named(new), "matters"),
        ("image", old.get("container", {}).get("image"), new.get("container", {}).get("image"), "matters"),
        ("environment modules", _words(old.get("modules")), _words(new.get("modules")), "matters"),
        ("kernel", old.get("kernel"), new.get("kernel"), "minor"),
        ("time zones", old.get("time zones"), new.get("time zones"), "minor"),
        ("host", old.get("host"), new.get("host"), "minor"),
        ("limits", _words(old.get("limits")), _words(new.get("limits")), "minor"),
        ("file systems", _words(old.get("file systems")), _words(new.get("file systems")), "minor"),
    ]
    if "used" in old and "used" in new:
        had, has = old.get("unowned", {}), new.get("unowned", {})
        rows += [(path, _short(had.get(path)), _short(has.get(path)), "matters") for path in sorted({*had, *has})]
        had, has = old.get("programs", {}), new.get("programs", {})
        rows += [(path, _short(had.get(path)), _short(has.get(path)), "matters") for path in sorted({*had, *has})]
    for name, before, after, weight in rows:
        if before != after:
            yield Change(kind=KIND, name=name, before=before, after=after, weight=weight)


def _package_changes(before: Part, after: Part, store: Store) -> list[Change]:
    old, new = before.trees.get("packages"), after.trees.get("packages")
    if old == new or not old or not new:
        return []
    try:
        had, has = system.parsed(store.get_bytes(old)), system.parsed(store.get_bytes(new))
    except BisError:
        name = "system packages"
        return [Change(kind=KIND, name=name, before=short(old), after=short(new), detail="The lists are not here.")]
    told = "used" in before.facts and "used" in after.facts
    used = {*before.facts.get("used", ()), *after.facts.get("used", ())}
    differ = [name for name in sorted({*had, *has}) if had.get(name) != has.get(name)]
    idle = [name for name in differ if told and name not in used]
    changes = [_package(name, had, has, "matters") for name in differ if name not in set(idle)]
    if len(idle) <= FOLDED:
        return changes + [_package(name, had, has, "minor") for name in idle]
    detail = "\n".join(f"{name} {had.get(name, '-')} -> {has.get(name, '-')}" for name in idle)
    name = f"{len(idle)} system packages that the runs did not use"
    return [*changes, Change(kind=KIND, name=name, detail=detail, weight="minor")]


def _package(name: str, had: Mapping[str, str], has: Mapping[str, str], weight: Weight) -> Change:
    return Change(kind=KIND, name=name, before=had.get(name), after=has.get(name), weight=weight)


def _declared_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    had, has = ({one["path"]: one for one in facts.get("declared", ())} for facts in (old, new))
    inside = in_container(old) or in_container(new)
    for path in sorted({*had, *has}):
        before, after = had.get(path), has.get(path)
        if (before or {}).get("digest") == (after or {}).get("digest"):
            continue
        role = (after or before or {})["role"]
        yield Change(
            kind=KIND,
            name=path,
            before=_short(before["digest"]) if before else None,
            after=_short(after["digest"]) if after else None,
            detail=_image_detail(before, after),
            weight="matters" if inside and role in MAKES_IMAGES else "minor",
        )


def _image_detail(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    had, has = ((one or {}).get("images", ()) for one in (before, after))
    gone = [f"- {image}" for image in had if image not in has]
    return "\n".join([*gone, *(f"+ {image}" for image in has if image not in had)])


def _named(facts: Mapping[str, Any]) -> str | None:
    distribution = facts.get("distribution", {})
    return " ".join(filter(None, (distribution.get("name"), distribution.get("version")))) or None


def _words(value: Mapping[str, Any] | Iterable[str] | None) -> str | None:
    if not value:
        return None
    # A record has its keys sorted, a part that was just captured has not.
    words = [f"{name} {item}" for name, item in sorted(value.items())] if isinstance(value, Mapping) else value
    return ", ".join(words)


def _short(digest: str | None) -> str | None:
    return short(digest) if digest else None
