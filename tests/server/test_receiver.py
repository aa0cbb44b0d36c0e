"""What takes in what a script logs while `bis run` runs it: when it is asked, and when it cannot answer."""

import contextlib
import os
import socket
import time
from pathlib import Path

import httpx
import pytest

from bis.server.receiver import TOKEN, URI, Receiver


@pytest.mark.usefixtures("many_files")
def test_clients_are_answered_however_many_files_are_open(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, "0" * 32, dict(os.environ))
    try:
        given = receiver.variables
        headers = {"Authorization": f"Bearer {given[TOKEN]}"}
        answer = httpx.get(f"{given[URI]}/version", headers=headers, timeout=60)
        assert answer.status_code == 200
    finally:
        receiver.close()
    assert (receiver.called, receiver.trouble) == (True, "")


def test_clients_that_nothing_could_be_started_for_are_turned_away_and_it_is_told(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, "0" * 32, {"TOO_LONG": "x" * (1 << 20)})  # more than the kernel passes on
    port = int(receiver.variables[URI].rpartition(":")[2])
    with contextlib.suppress(ConnectionResetError), socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
        assert wire.recv(1) == b""
    end = time.monotonic() + 30
    while not receiver.trouble and time.monotonic() < end:
        time.sleep(0.01)
    receiver.close()
    assert "nothing could be started that answers" in receiver.trouble
    assert "Argument list too long" in receiver.trouble
