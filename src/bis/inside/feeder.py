"""Standard input that is a pipe, passed on to the command and kept on the way.

    python -I -S feeder.py SOURCE TARGET CONTROL FILE LIMIT

Standalone: standard library only, Python 3.8 or newer. A process of its own, so that the command's input goes on when
its supervisor is killed. SOURCE, TARGET and CONTROL are descriptors. FILE gets the bytes as they are passed on; past
LIMIT it is emptied, and nothing is kept any more.

A command that does not read its input must leave it to others (`while read NAME; do bis run …; done`). So the first
bytes are not taken but doubled (tee), and taken only when the command has read them.

On CONTROL, lines of JSON: first `ready`, when what is there already can be read. The supervisor answers when the
command has ended; then, or when nobody is left who reads, comes the last: `passed` bytes, of which `unread` were left
in the pipe; `kept`: they are in FILE.
"""

import array
import fcntl
import json
import os
import select
import socket
import stat
import sys
import termios

BLOCK = 1 << 16
SMALL = 4096
SET_SIZE = 1031
"""F_SETPIPE_SZ. A pipe of one page is ready for writing exactly when all in it was read."""


def main(source, target, control, path, limit):
    for number in (source, target, control):
        os.set_inheritable(number, False)
    os.set_blocking(target, False)
    feeder = Feeder(source, target, socket.socket(fileno=control), path, limit)
    try:
        feeder.run()
    except BrokenPipeError:
        pass  # nobody is left who reads
    finally:
        feeder.report()


class Feeder:
    def __init__(self, source, target, control, path, limit):
        self.source, self.target, self.control, self.limit = source, target, control, limit
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.passed = 0
        self.kept = True
        self.end = False

    def run(self):
        tee = doubler(self.source)
        doubles = tee is not None and resized(self.target, SMALL)
        offered = self.offer(tee) if doubles and ready(self.source) else 0
        self.say({"ready": True})
        if doubles and not offered:
            if not self.wait(self.source, select.POLLIN):
                return
            offered = self.offer(tee)
        if offered:
            if not self.wait(self.target, select.POLLOUT):
                return
            exactly(self.source, offered)
        if doubles:
            resized(self.target, BLOCK)
        self.relay()

    def offer(self, tee):
        """Give the command the first bytes without taking them from where they come; how many."""
        count = max(0, tee(self.source, self.target, SMALL))
        self.passed = count
        self.keep(peeked(self.source, count, tee))
        return count

    def relay(self):
        data = b""
        while data or not self.end:
            if not self.wait(*((self.target, select.POLLOUT) if data else (self.source, select.POLLIN))):
                return
            if data:
                data = data[self.give(data) :]
            else:
                data = os.read(self.source, BLOCK)
                self.end = not data
        self.close()

    def give(self, data):
        try:
            count = os.write(self.target, data)
        except BlockingIOError:
            return 0
        self.passed += count
        self.keep(data[:count])
        return count

    def close(self):
        """Let the command see the end, and wait for its own."""
        reader = os.open("/dev/fd/%d" % self.target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.dup2(reader, self.target, inheritable=False)
        os.close(reader)
        if self.control is not None:
            select.select([self.control], [], [])

    def keep(self, data):
        if not self.kept:
            return
        try:
            if self.passed > self.limit:
                raise OSError
            while data:
                data = data[os.write(self.file, data) :]
        except OSError:
            self.kept = False
            os.ftruncate(self.file, 0)

    def wait(self, number, events):
        """Until a descriptor is ready; False when nobody is left who reads."""
        poll = select.poll()
        poll.register(self.target, 0)
        poll.register(number, events)
        if self.control is not None:
            poll.register(self.control, select.POLLIN)
        while True:
            found = dict(poll.poll())
            if found.get(self.target, 0) & select.POLLERR:
                return False
            if self.control is not None and self.control.fileno() in found:
                poll.unregister(self.control)
                self.report()
            elif number in found:
                return True

    def report(self):
        """What the command had of it. Once; what goes on afterwards is no part of the run."""
        if self.control is not None:
            self.say({"passed": self.passed, "unread": waiting(self.target), "kept": self.kept})
            self.control.close()
            self.control = None
            self.kept = False

    def say(self, message):
        try:
            self.control.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # the supervisor is gone


def ready(source):
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return any(events & select.POLLIN for _number, events in poll.poll(0))


def doubler(source):
    """The system's tee, for a source that is a pipe."""
    if not sys.platform.startswith("linux") or not stat.S_ISFIFO(os.fstat(source).st_mode):
        return None
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def tee(reader, writer, count):
        return libc.tee(reader, writer, ctypes.c_size_t(count), 0)

    return tee


def peeked(source, count, tee):
    """The first bytes of a pipe, which stay in it."""
    reader, writer = os.pipe()
    try:
        count = tee(source, writer, count)
        return os.read(reader, count) if count > 0 else b""
    finally:
        os.close(reader)
        os.close(writer)


def exactly(source, count):
    data = b""
    while len(data) < count:
        piece = os.read(source, count - len(data))
        if not piece:
            break
        data += piece
    return data


def resized(pipe, size):
    try:
        return fcntl.fcntl(pipe, SET_SIZE, size) > 0
    except OSError:
        return False


def waiting(pipe):
    """Bytes in a pipe that nobody has read."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(pipe, termios.FIONREAD, count)
    except OSError:
        return 0
    return count[0]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), sys.argv[4], int(sys.argv[5]))
