"""The system calls that the filter stops at, and what each means for the record.

Standalone: standard library only, Python 3.8 or newer.
"""

import sys

import seccomp
from recorder import CREATE, TRUNCATE
from sight import HERE, MOST_ARGUMENTS, NoName

EMPTY_PATH, REMOVE_FOLDER, EXCHANGE, FOLLOW = 0x1000, 0x200, 2, 0x400


def handlers(record):
    """(architecture, number) -> what takes the process and the arguments."""
    found = {}
    for architecture, width, numbers in seccomp.tables():
        calls = Calls(record, width)
        for name, number in numbers.items():
            found[architecture, number] = what = getattr(calls, name.replace("x32_", ""))
            if architecture == seccomp.X86_64[0]:
                found[architecture, number | seccomp.X32_BIT] = what
    return found


class Calls:
    """The system calls by name: what each means for the record. `width`: bytes of a pointer."""

    def __init__(self, record, width):
        self.record, self.width = record, width

    def path(self, pid, folder, address):
        return self.named(pid, folder, self.record.text(pid, address))

    def named(self, pid, folder, raw):
        found = self.record.absolute(pid, folder, raw) if raw else None
        if found is None:
            raise NoName(raw)
        return found

    def view(self, pid):
        return (self.record.processes.get(pid) or self.record.attach(pid))[1]

    def openat(self, pid, folder, path, flags, *_):
        if self.record.recording:
            full = self.path(pid, folder, path)
            self.record.will_open(pid, self.view(pid), full, flags)

    def open(self, pid, path, flags, *_):
        self.openat(pid, HERE, path, flags)

    def creat(self, pid, path, *_):
        self.openat(pid, HERE, path, 1 | CREATE | TRUNCATE)

    def openat2(self, pid, folder, path, how, *_):
        self.openat(pid, folder, path, int.from_bytes(self.record.read(pid, how, 8), sys.byteorder))

    def execveat(self, pid, folder, path, argv, _environment=0, flags=0, *_):
        self.record.first = self.record.first or pid
        self.record.forget(pid)  # it may have entered a room since it was looked at
        raw = self.record.text(pid, path)
        full = self.record.absolute(pid, folder, raw) if raw or flags & EMPTY_PATH else None
        if full is not None:
            words = self.record.arguments(pid, argv, self.width)
            if sum(map(len, words)) + len(words) >= MOST_ARGUMENTS:
                shown = full.decode("utf-8", "backslashreplace")
                self.record.note("only the first %d bytes of the arguments of %s are listed" % (MOST_ARGUMENTS, shown))
            self.record.executed(pid, self.view(pid), full, words)
        self.record.forget(pid)

    def execve(self, pid, path, argv, *_):
        self.execveat(pid, HERE, path, argv)

    def renameat2(self, pid, folder, source, other, target, flags=0):
        if self.record.recording:
            source, target = self.path(pid, folder, source), self.path(pid, other, target)
            self.record.renamed(pid, self.view(pid), source, target, bool(flags & EXCHANGE))

    def renameat(self, pid, folder, source, other, target, *_):
        self.renameat2(pid, folder, source, other, target)

    def rename(self, pid, source, target, *_):
        self.renameat2(pid, HERE, source, HERE, target)

    def unlinkat(self, pid, folder, path, flags, *_):
        if self.record.recording and not flags & REMOVE_FOLDER:
            full = self.path(pid, folder, path)
            self.record.removed(pid, self.view(pid), full)

    def unlink(self, pid, path, *_):
        self.unlinkat(pid, HERE, path, 0)

    def truncate(self, pid, path, *_):
        if self.record.recording:
            full = self.path(pid, HERE, path)
            self.record.truncated(pid, self.view(pid), full)

    truncate64 = truncate

    def linkat(self, pid, folder, source, other, target, flags=0):
        if self.record.recording:
            raw = self.record.text(pid, source)
            origin = self.record.absolute(pid, folder, raw)
            full = self.path(pid, other, target)
            self.record.linked(pid, self.view(pid), origin, full, bool(flags & FOLLOW))

    def link(self, pid, source, target, *_):
        self.linkat(pid, HERE, source, HERE, target)

    def symlinkat(self, pid, _text, folder, path, *_):
        if self.record.recording:
            full = self.path(pid, folder, path)
            self.record.symlinked(pid, self.view(pid), full)

    def symlink(self, pid, text, path, *_):
        self.symlinkat(pid, text, HERE, path)

    def mkdirat(self, pid, folder, path, *_):
        if self.record.recording:
            full = self.path(pid, folder, path)
            self.record.folder_made(pid, self.view(pid), full)

    def mkdir(self, pid, path, *_):
        self.mkdirat(pid, HERE, path)

    def connect(self, pid, descriptor, address, size, *_):
        if self.record.recording:
            self.record.connected(pid, descriptor, self.record.read(pid, address, min(size & 0xFFFFFFFF, 128)))

    def socketcall(self, pid, call, address, *_):
        if call == 3:
            block = self.record.read(pid, address, 12)
            self.connect(pid, *(int.from_bytes(block[at : at + 4], sys.byteorder) for at in (0, 4, 8)))

    def io_uring_setup(self, pid, *_):
        if self.record.recording:
            self.record.note("io_uring was used: files that were opened through it are not seen")

    def open_by_handle_at(self, pid, *_):
        if self.record.recording:
            self.record.note("files were opened by handle (open_by_handle_at): these are not seen")
