"""What a run printed, in the order of time, and never much of it at once."""

from pathlib import Path

from bis.digest import digest_bytes
from bis.nouns.run import Output, Run
from bis.steps.printed import BLOCK, printed
from bis.store.local import LocalStore, open_store


def kept(store: LocalStore, out: bytes, err: bytes, lines: bytes) -> Run:
    """A run with two streams, and when what came on which."""
    outputs = [
        Output(path=path, digest=store.put_bytes(content), size=len(content), kept=True)
        for path, content in (("<stdout>", out), ("<stderr>", err))
    ]
    return Run(
        id="0" * 12,
        name="x",
        command=("x",),
        started="2026-01-01T00:00:00.000000Z",
        status="finished",
        outputs=tuple(outputs),
        lines=store.put_bytes(lines),
    )


def test_lines_of_two_streams_come_as_they_were_printed(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        run = kept(store, b"one\nthree\n", b"two\n", b"1 o 0\n2 e 0\n3 o 4\n")
        assert b"".join(printed(run, store)) == b"one\ntwo\nthree\n"
        assert b"".join(printed(run, store, ("<stderr>",))) == b"two\n"


def test_however_much_is_printed_at_once_it_comes_in_blocks(tmp_path: Path) -> None:
    much = bytes(range(256)) * (5 * BLOCK // 256)
    with open_store(tmp_path / "store") as store:
        run = kept(store, much, b"at last\n" + much, b"1 o 0\n2 e 0\n3 e 8\n")
        blocks = list(printed(run, store))
    assert max(map(len, blocks)) <= BLOCK
    assert digest_bytes(b"".join(blocks)) == digest_bytes(much + b"at last\n" + much)
