"""A Run: one execution, all that went in and all that came out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from bis.digest import Digest, digest_value, spell
from bis.errors import UsageError
from bis.nouns.part import Finding, Part, PartKind

Status = Literal["scheduled", "running", "finished", "failed", "interrupted", "lost"]
RUN_SCHEMA = "bis.run/1"
PRINTED = ("<stdout>", "<stderr>")
"""The names of outputs that are what the command printed."""
SCRIPTS = (".py", ".ipynb", ".sh", ".r", ".jl", ".pyz", ".pl", ".js")


class Coverage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much of the run could be seen, so that a verdict never promises more."""

    mechanism: str
    complete: bool
    limits: tuple[str, ...] = ()


class Chance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What bis did about randomness, and what it saw of it."""

    seed: int | None = None
    """The seed given to everything that nobody seeded; None with `--no-seed`."""
    given: bool = False
    """True when a person chose it (`--seed`)."""
    hash_seed: int | None = None
    deterministic: bool = False
    streams: dict[str, int] = {}
    """What was seeded by bis and how often: `random`, `numpy`, `numpy.default_rng`, `torch`, …"""
    own: tuple[str, ...] = ()
    """What the script seeded itself."""
    entropy: tuple[str, ...] = ()
    """Where the operating system's randomness was read: `uuid.uuid4 (train.py:12)`."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Resources used by the command and all it started."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    """Largest resident set of the process tree, sampled."""
    read_bytes: int = 0
    written_bytes: int = 0
    samples: Digest = Digest("")
    """Blob with the time series as CSV."""


class Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that the run made."""

    path: str
    """Spelled; relative to the project when inside it, else absolute. The logs are `<stdout>` and `<stderr>`, and what
    the script logged is `<artifacts>/NAME`."""
    digest: Digest
    size: int
    mode: int = 0o644
    kept: bool = True
    """False: hashed, not copied into the store (too large, or a rule)."""
    target: str = ""
    """For a symbolic link."""

    @property
    def is_log(self) -> bool:
        """Whether it is what the command printed."""
        return self.path in PRINTED


class Run(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=RUN_SCHEMA, tag_field="schema"):
    """The record. Once sealed it never changes; what comes later lies beside it."""

    id: str
    """12 hexadecimal digits, drawn at random."""
    name: str
    command: tuple[str, ...]
    """As typed, spelled, secrets replaced by `{secret:NAME}`."""
    folder: str = "."
    """Where it ran, relative to the project (spelled)."""
    project: str = ""
    """The project's folder at the time, absolute (spelled)."""
    user: str = ""
    host: str = ""
    version: str = ""
    """Of bis."""
    started: str
    """RFC 3339, UTC, with microseconds."""
    ended: str = ""
    status: Status
    exit: int | None = None
    """Exit status of the command; None when a signal ended it or it was lost."""
    signal: int | None = None
    parts: dict[PartKind, Part] = {}
    outputs: tuple[Output, ...] = ()
    removed: tuple[str, ...] | None = None
    """Files from before the run that it deleted or moved away (spelled, named as outputs are). None: not known, as not
    everything could be seen, or an earlier bis recorded it."""
    metrics: dict[str, float] = {}
    """Last value of each metric that was logged, or found in metric files."""
    logged: dict[str, str] = {}
    """Params that the script said it had."""
    history: Digest = Digest("")
    """Blob: all points of the metrics that were logged (`docs/format.md`, histories)."""
    chance: Chance = Chance()
    usage: Usage = Usage()
    lines: Digest = Digest("")
    """Blob: when each piece of the output came (`docs/format.md`, time index)."""
    stdin: Digest = Digest("")
    """Blob: what the command read from standard input, where that was a file."""
    coverage: Coverage = Coverage(mechanism="none", complete=False)
    conditions: dict[str, str] = {}
    """What a repeat forces again: `umask`, `TZ`, `LANG`, threads per pool, …"""
    findings: tuple[Finding, ...] = ()
    repeats: str = ""
    """The id of the run that this one repeats."""
    taken: dict[str, str] = {}
    """For a repeat with parts of other runs: kind -> where it was taken from."""
    parent: str = ""
    """The run that was under way around this one (nested `bis run`)."""
    note: str = ""

    @property
    def tracked(self) -> bool:
        """Whether a client logged it to a ledger: bis did not see it run, and there is no record of it to repeat. Such
        runs have 32 hexadecimal digits."""
        return is_tracked(self.id)

    @property
    def ok(self) -> bool:
        return self.status == "finished" and (self.exit == 0 or self.tracked)

    @property
    def all_findings(self) -> list[Finding]:
        """Those of the run and of its parts, those that stand in the way of a repeat first; each once."""
        found = [*self.findings, *(finding for part in self.parts.values() for finding in part.findings)]
        return sorted(dict.fromkeys(found), key=lambda finding: not finding.blocks)

    @property
    def ending(self) -> str:
        """`finished in 4m40s`, `failed with exit status 1 in 2.1s`, `ended by SIGKILL in 12.0s`."""
        from bis.text import duration, seconds_between

        took = seconds_between(self.started, self.ended)
        time = f" in {duration(took)}" if took is not None else ""
        interrupted = self.status == "interrupted"
        if self.status == "running":
            return "running"
        if self.ok:
            return f"finished{time}"
        if self.status == "lost":
            return f"lost{time}"
        if self.signal is not None:
            return f"{'interrupted' if interrupted else 'ended'} by {signal_name(self.signal)}{time}"
        if self.exit is not None:
            return f"{'interrupted' if interrupted else 'failed'} with exit status {self.exit}{time}"
        return f"{self.status}{time}"


def signal_name(number: int) -> str:
    """`SIGKILL`, or `signal 62` for one without a name."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def is_tracked(id: str) -> bool:
    """Whether an id is that of a run which a client logged."""
    return len(id) > 12


def check_name(name: str, hint: str = "") -> None:
    """Raises UsageError for what could not be typed to mean a run."""
    if not name or not name.isprintable() or set(name) & set("@~/:") or name[0] in "-. " or name.endswith(" "):
        raise UsageError(
            f"{name!r} cannot be the name of a run",
            because="Names have no control characters and none of @ ~ / :, and do not begin with - or a dot.",
            hint=hint,
        )


def called(run: Run, name: str) -> Run:
    """The run under the name that it has now."""
    return run if run.name == name else msgspec.structs.replace(run, name=name)


def told(run: Run) -> dict[str, str]:
    """What a run was told, by name: the options of its command, the values of its configuration files, and what its
    script says of itself; the earlier of these wins where they use one name. A value of a file also
    goes by its name without the file, where no option has that name and one file alone sets it."""
    facts = run.parts["params"].facts if "params" in run.parts else {}
    options = {str(key): str(value) for key, value in facts.get("options", {}).items()}
    values = {str(key): str(value) for key, value in facts.get("values", {}).items()}
    short = [key.partition(":")[2] for key in values]
    brief = {key.partition(":")[2]: value for key, value in values.items() if short.count(key.partition(":")[2]) == 1}
    brief.pop("", None)
    return {**run.logged, **brief, **values, **options}


def command_key(command: Sequence[str], folder: str) -> str:
    """Equal for two runs of the same script in the same folder, whatever values its options have."""
    words: list[str] = []
    option = ""
    for number, word in enumerate(command):
        if number == 0:
            words.append(word.rsplit("/", 1)[-1])
        elif word.startswith("-") and len(word) > 1:
            option = "" if "=" in word else word
        elif option and option != "-m" and not word.lower().endswith(SCRIPTS):
            option = ""
        elif "=" not in word:
            words.append(word)
            option = ""
    return digest_value([folder, *(spell(word) for word in words)])
