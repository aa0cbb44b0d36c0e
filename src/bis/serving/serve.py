"""Serving models: from their names to a server that answers, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bis.errors import BisError, UsageError, explains
from bis.ledger import tokens
from bis.ledger.runs import SqlLedger
from bis.ledger.tokens import Token
from bis.server.doorway import listen
from bis.serving.access import Access
from bis.serving.app import Front, Limits
from bis.serving.prepared import Prepared, Preparing, prepare
from bis.serving.reload import moving, watch
from bis.serving.sampled import Sampled
from bis.serving.slot import Place, Slot
from bis.serving.tally import Tally
from bis.serving.team import Team
from bis.serving.workers import Started

TICK: Final = 0.5
"""Seconds between looks at what waits and at workers."""
KEEP_ALIVE: Final = 75
MOST: Final = 1 << 30
"""Bytes that a body can be allowed to have."""
FRESH: Final = 1.0
"""Seconds for which the tokens that were read last are believed."""
UNGUARDED = explains("B099", "Models that others can reach need a token, or to be told that they are open.")


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """How models were asked to be served."""

    models: tuple[tuple[str, str], ...]
    """Name in addresses, empty for its own, and how the model is named."""
    host: str = "127.0.0.1"
    port: int = 5001
    open: bool = False
    hosts: tuple[str, ...] = ()
    shadow: str = ""
    """A version that is asked what the first model is asked, and compared."""
    canary: str = ""
    """A version that answers a share of what the first model is asked."""
    share: float = 0.0
    """That share, from 0 to 1."""
    watch: float = 1.0
    """Seconds between looks at which version an alias means; 0: never."""
    sampled: Path | None = None
    """Folder that requests and predictions are written to."""
    sample: float = 1.0
    """The share of them that is."""
    limits: Limits = Limits()
    grace: int = 30
    """Seconds for requests under way when it is told to end."""

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Begun(msgspec.Struct, frozen=True):
    """A version whose workers load already."""

    prepared: Prepared
    started: list[Started]


def serve(asked: Serving, preparing: Preparing, say: Callable[[str], None]) -> Tally:
    """Answer until a signal ends it; what was begun is answered first. Returns what was counted.

    The workers begin to load before the front does, so that a first prediction waits for the slower of the two only."""
    _demand(asked, preparing)
    listening = listen(asked.host, asked.port, "bis serve")
    begun: dict[str, Begun] = {}
    beside: dict[str, Begun] = {}
    try:
        for name, text in asked.models:
            one = _begin(text, name, preparing, say, begun)
            begun[one.prepared.version.name] = one
        for kind, text in (("shadow", asked.shadow), ("canary", asked.canary)):
            if text:
                beside[kind] = _begin(text, next(iter(begun)), preparing, say)
        with asyncio.Runner(loop_factory=_loop()) as runner:
            return runner.run(_serve(asked, preparing, listening, begun, beside, say))
    except BaseException:
        for one in (*begun.values(), *beside.values()):
            for started in one.started:
                if started.process.poll() is None:
                    started.process.kill()
                    started.process.wait()
        raise
    finally:
        listening.close()


def _begin(
    text: str, name: str, preparing: Preparing, say: Callable[[str], None], others: Mapping[str, Begun] | None = None
) -> Begun:
    """Start the workers of a model that is called otherwise than the others."""
    prepared = prepare(text, name, preparing)
    for line in prepared.told:
        say(line)
    if prepared.version.name in (others or {}):
        raise UsageError(
            f"two models are called {prepared.version.name}", hint=f"bis serve {text} OTHER={text}  names them apart"
        )
    try:
        return Begun(prepared, [prepared.begin(preparing.variables) for _ in range(preparing.bounds.workers)])
    except OSError as error:
        raise UsageError(f"{prepared.python} cannot be started: {error.strerror or error}") from None


async def _serve(
    asked: Serving,
    preparing: Preparing,
    listening: socket.socket,
    begun: Mapping[str, Begun],
    beside: Mapping[str, Begun],
    say: Callable[[str], None],
) -> Tally:
    tally = Tally()
    sampled = Sampled(asked.sampled, asked.sample) if asked.sampled else None
    slots = {name: Slot(name, tally, sampled=sampled) for name in begun}
    access = Access(loopback=asked.loopback, is_open=asked.open, hosts=frozenset(asked.hosts))
    access.known = known_tokens(preparing)
    front = Front(slots, tally, access, asked.limits)

    def make(prepared: Prepared) -> Team:
        return Team(
            prepared.version,
            lambda: prepared.begin(preparing.variables),
            preparing.bounds.workers,
            tally,
            together=preparing.bounds.together,
            seconds=preparing.bounds.seconds,
            memory=preparing.bounds.memory,
            loading=preparing.bounds.loading,
            say=say,
            over=prepared.held.close,
        )

    for name, one in begun.items():
        slots[name].example, slots[name].described = one.prepared.example, one.prepared.described
    server = _server(front, asked)
    tasks = [asyncio.create_task(_look_after(front, access, preparing))]
    first = next(iter(slots.values()))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    loading = asyncio.create_task(_load(slots, begun, beside, make, first, asked.share))
    try:
        await asyncio.wait([serving, loading], return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            gc.collect()
            gc.freeze()  # what is there now stays: to look through it for garbage holds up whoever asks meanwhile
            host = f"[{asked.host}]" if ":" in asked.host else asked.host
            told = ", ".join(slot.team.version.shown for slot in slots.values() if slot.team)
            url = f"http://{host}:{listening.getsockname()[1]}"
            say(f"serving {told} on {url}")
            for line in _told_of(list(slots.values()), url):
                say(line)
            for slot, place, text in _places(asked, list(slots.values())):
                reference = moving(text, preparing) if asked.watch else None
                if reference is not None:
                    tasks.append(asyncio.create_task(watch(slot, reference, preparing, make, asked.watch, say, place)))
        await serving
    finally:
        server.should_exit = True
        for task in (*tasks, loading):
            task.cancel()
        for task in (*tasks, loading, serving):
            with contextlib.suppress(asyncio.CancelledError, BisError):
                await task
        await asyncio.gather(*(slot.close() for slot in slots.values()))
        if sampled is not None:
            await asyncio.to_thread(sampled.close)
    return tally


def _told_of(slots: Sequence[Slot], url: str) -> Iterator[str]:
    """Who else is asked, and how one asks."""
    first = slots[0]
    name = first.name if len(slots) == 1 else "NAME"
    if first.canary is not None:
        yield f"  canary  {first.canary.version.shown} answers {100 * first.share:.3g} % of the requests"
    if first.shadow is not None:
        yield f"  shadow  {first.shadow.version.shown} is asked, too, and nobody gets its answers"
    yield f"  ask     {url}/ has a form with an example; programs POST to {url}/models/{name}/invocations"


async def _load(
    slots: Mapping[str, Slot],
    begun: Mapping[str, Begun],
    beside: Mapping[str, Begun],
    make: Callable[[Prepared], Team],
    first: Slot,
    share: float,
) -> None:
    """Wait until every model can be asked. Raises CannotRepeat for the first that cannot be loaded."""
    teams = {name: make(one.prepared) for name, one in begun.items()}
    others = {kind: make(one.prepared) for kind, one in beside.items()}
    for name, team in teams.items():
        slots[name].team = team  # what comes before it is ready waits
    waits = [teams[name].begin(one.started) for name, one in begun.items()]
    waits += [others[kind].begin(one.started) for kind, one in beside.items()]
    await asyncio.gather(*waits)
    first.share = share
    for kind, team in others.items():
        setattr(first, kind, team)


def _places(asked: Serving, slots: Sequence[Slot]) -> Iterator[tuple[Slot, Place, str]]:
    """Each place where a version stands, and how that was named."""
    for (_, text), slot in zip(asked.models, slots, strict=True):
        yield slot, "team", text
    if asked.canary:
        yield slots[0], "canary", asked.canary
    if asked.shadow:
        yield slots[0], "shadow", asked.shadow


async def _look_after(front: Front, access: Access, preparing: Preparing) -> None:
    """Every so often: requests that wait too long, workers that take too long, tokens that were given or taken back."""
    now = asyncio.get_running_loop().time
    read = 0.0
    while True:
        for slot in front.slots.values():
            slot.look()
        if now() - read >= FRESH:
            read = now()
            with contextlib.suppress(BisError, OSError):
                access.known = await asyncio.to_thread(known_tokens, preparing)
        await asyncio.sleep(TICK)


def known_tokens(preparing: Preparing) -> Mapping[str, Token]:
    """The tokens of the project, by digest; none where there is no project."""
    try:
        ledger = preparing.homes().ledger
    except BisError:
        return {}
    if not isinstance(ledger, SqlLedger) or not ledger.database.there:
        return {}
    with ledger.database.reading() as connection:
        return {token.digest: token for token in tokens.given(connection)}


def _demand(asked: Serving, preparing: Preparing) -> None:
    """Raises UsageError for what would be a server that should not be."""
    if asked.limits.body > MOST:
        raise UsageError(f"a body may have {MOST >> 20} MiB at most", hint="bis serve --max-body 256M")
    if not asked.loopback and not asked.open and not known_tokens(preparing):
        raise UsageError(
            f"others can reach {asked.host}, and nobody was given a token yet",
            because="Without one, everybody who reaches the server could ask the models.",
            hint="bis server token add NAME --role reader  gives one; --open lets everybody in",
            code=UNGUARDED,
        )


def _loop() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _server(front: Front, asked: Serving) -> Any:
    import uvicorn

    from bis.server.wire import Wire

    class Server(uvicorn.Server):
        """Ends by returning, whatever signal told it to."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    return Server(
        uvicorn.Config(
            front,
            http=Wire,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=asked.grace,
        )
    )


def counted(tally: Tally) -> dict[str, Any]:
    """What was asked and learnt, for a script, at the end."""
    requests: dict[tuple[str, str], int] = {}
    for (name, number, _, _), count in tally.requests.items():
        requests[name, number] = requests.get((name, number), 0) + count
    return {
        "versions": [
            {"model": name, "version": number, "requests": count} for (name, number), count in requests.items() if name
        ],
        "compared": [
            {"model": name, "version": first, "beside": second, **vars(one)}
            for (name, first, second), one in tally.agreements.items()
        ],
    }


def compared_lines(tally: Tally) -> Sequence[str]:
    """What was learnt of versions that were compared, for the end."""
    lines = []
    for (name, first, second), one in tally.agreements.items():
        rows = f"{one.same_rows} of {one.rows} rows the same" if one.rows else "no rows"
        line = f"{name}: version {second} beside {first}: {rows}, {one.same} of {one.requests} requests"
        if one.furthest:
            line += f"; numbers at most {one.furthest:.4g} apart"
        if one.failed or one.dropped:
            line += f"; {one.failed} failed, {one.dropped} not asked"
        lines.append(line)
    for (name, number), times in tally.times.items():
        if len(tally.times) > 1:
            mean, most = 1000 * times.mean, 1000 * times.quantile(0.99)
            lines.append(
                f"{name} version {number or '-'}: {times.count} requests, mean {mean:.2f} ms, p99 ≤ {most:g} ms"
            )
    return lines
