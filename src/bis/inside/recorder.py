"""What the tracer writes down: paths as the processes saw them, each with what was done to it.

Standalone: standard library only, Python 3.8 or newer, Linux.

A record is a line that ends in NUL, so that a path may hold anything:

    A LETTERS SIZE,MTIME,INODE,CTIME PREIMAGE PATH    `-` where there is nothing; the stat comes with the first only
    P {"pid": …, "parent": …, "executable": …, "argv": […]}
    M {"from": …, "to": …}      a folder was moved, with all below it
    C tcp:127.0.0.1:80          was connected to
    L text                      something that could not be seen or kept
    E {…}                       the tracer's end: nothing follows
"""

import errno
import fcntl
import json
import os
import socket
import stat
import struct
import sys

ACCESS_MODE, CREATE, EXCLUSIVE, TRUNCATE = 0o3, 0o100, 0o200, 0o1000
NO_FOLLOW, PATH_ONLY, UNNAMED = 0o400000, 0o10000000, 0o20000000
EMPTY_PATH, REMOVE_FOLDER, EXCHANGE, FOLLOW = 0x1000, 0x200, 2, 0x400
CHANGING = 0o3 | CREATE | TRUNCATE
BY_PROCESS = (b"/proc/", b"/dev/")
"""Where a name may mean another thing to each process."""
ODD_NAMES = (b"/", b"/.", b"/..")
MOST_PENDING = 4096
HERE = 0xFFFFFF9C  # AT_FDCWD as an unsigned int
FICLONE = 0x40049409
ADDRESS = (1 << 56) - 1
READ_AT_ONCE = 512
MOST_PROCESSES = 20000
MOST_ARGUMENTS = 1 << 17
MOST_LINKS = 40
LARGE = 1 << 20
PROC = (b"/proc/self", b"/proc/thread-self")

# In the page that the tracer shares with the guard.
KEEPING, UNSEEN = 1024, 1025


class NoName(Exception):
    """A call names nothing: it will fail, or means something without a path."""


class View:
    """The file system as some of the processes see it: a root folder in a mount namespace."""

    def __init__(self, own, root):
        self.own = own
        self.prefix = b"" if own else b"/proc/self/fd/%d" % root
        """What the tracer puts before a path to find it."""
        self.folders = {}
        """Folder as named -> its real path; `/` is empty."""
        self.letters = {}
        """Real path -> what was done to it."""
        self.reads = set()
        """Paths as named whose reading is noted, or will be: nothing new is learned from them."""


class Recorder:
    """Takes what processes ask of the kernel and writes what is new about it. One thread only."""

    def __init__(self, order, target, page):
        """`order`: roots, scratch, preimage_limit, command (None: record from the start), no_privileges."""
        self.roots = tuple(os.fsencode(root).rstrip(b"/") for root in order["roots"])
        self.below = tuple(root + b"/" for root in self.roots)
        self.scratch = os.fsencode(order["scratch"])
        self.hidden = self.scratch.rstrip(b"/") + b"/"
        self.limit = order["preimage_limit"]
        self.command = [os.fsencode(word) for word in order["command"]] if order.get("command") else None
        self.recording = self.command is None
        self.no_privileges = order.get("no_privileges", False)
        self.target = target
        self.page = page
        self.lines = []
        self.processes = {}
        """Thread id -> (descriptor of its memory, its view); forgotten at each tick, as ids come back."""
        self.views = {}
        self.pending = []
        """Openings for reading that are still to be looked at: (pid, view, path as named, flags)."""
        self.preimages = 0
        self.executed_files = set()
        self.addresses = set()
        self.said = set()
        self.unresolved = 0
        self.program_count = 0
        self.home = _namespace(b"self")

    # What is kept on disk

    def flush(self):
        self.settle()
        lines, self.lines = self.lines, []
        data = b"".join(lines)
        while data:
            data = data[os.write(self.target, data) :]

    def note(self, text):
        if text not in self.said:
            self.said.add(text)
            self.lines.append(b"L " + os.fsencode(text) + b"\0")

    def failed(self, pid, error):
        """A call could not be understood. That of a process which is gone, or of an address that is not there, is
        no loss: the call fails as well."""
        if self.recording and getattr(error, "errno", 0) != errno.EIO and os.path.exists("/proc/%d/mem" % pid):
            self.unresolved += 1
            if self.unresolved < 10:
                sys.stderr.write("bis: pid %d: %r\n" % (pid, error))

    def end(self, facts):
        self.settle()
        if self.page[UNSEEN]:
            self.note("some openings went on before they could be looked at, as the tracer was held up")
        if self.unresolved:
            self.note("%d openings could not be attributed to a path" % self.unresolved)
        self.lines.append(b"E " + json.dumps(facts).encode() + b"\0")
        self.flush()

    # Processes

    def attach(self, pid):
        memory = os.open(b"/proc/%d/mem" % pid, os.O_RDONLY | os.O_CLOEXEC)
        try:
            space = _namespace(b"%d" % pid)
            view = self.views.get(space)
            if view is None:
                root = os.open(b"/proc/%d/root" % pid, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                view = self.views[space] = View(space == self.home, root)
        except OSError:
            os.close(memory)
            raise
        if len(self.processes) > 200:
            self.forget_all()
        self.processes[pid] = found = (memory, view)
        return found

    def forget(self, pid):
        known = self.processes.pop(pid, None)
        if known:
            os.close(known[0])

    def forget_all(self):
        for memory, _view in self.processes.values():
            os.close(memory)
        self.processes.clear()

    def read(self, pid, address, size):
        """Up to `size` bytes of a process; empty where there is nothing."""
        address &= ADDRESS
        for _attempt in range(2):
            memory = (self.processes.get(pid) or self.attach(pid))[0]
            try:
                data = os.pread(memory, size, address)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                data = b""
            if data:
                return data
            # The memory that is open may be of a program that has been replaced since.
            self.forget(pid)
        return b""

    def text(self, pid, address, most=4096):
        """The string at an address."""
        data = b""
        while len(data) < most:
            piece = self.read(pid, address + len(data), READ_AT_ONCE)
            end = piece.find(b"\0")
            if end >= 0:
                return data + piece[:end]
            if not piece:
                raise NoName(data)
            data += piece
        return data

    # Paths

    def absolute(self, pid, folder, raw):
        """A path as a process named it, made absolute; None when it cannot be named."""
        if raw.startswith(b"/"):
            return raw
        folder &= 0xFFFFFFFF
        link = b"/proc/%d/cwd" % pid if folder == HERE else b"/proc/%d/fd/%d" % (pid, folder)
        base = os.readlink(link)
        if not base.startswith(b"/"):
            return None
        view = (self.processes.get(pid) or self.attach(pid))[1]
        if not view.own:
            root = os.readlink(b"/proc/%d/root" % pid)
            if root != b"/" and base.startswith(root):
                base = base[len(root) :] or b"/"
        return base + b"/" + raw if raw else base

    def real_folder(self, view, pid, path, links=0):
        """A folder's path without `.`, `..` and links. The root is empty."""
        known = view.folders.get(path)
        if known is not None:
            return known
        head, _slash, name = path.rpartition(b"/")
        if not path or path == b"/":
            return b""
        parent = self.real_folder(view, pid, head, links)
        if name in (b"", b"."):
            return parent
        if name == b"..":
            return parent.rpartition(b"/")[0]
        here = parent + b"/" + name
        if here in PROC:
            return b"/proc/%d" % pid
        try:
            target = os.readlink(self.outside(view, here))
        except OSError as error:
            if error.errno == errno.EINVAL and not here.startswith(b"/proc/"):
                view.folders[path] = here
            return here
        if links >= MOST_LINKS:
            return here
        found = self.real_folder(view, pid, target if target[:1] == b"/" else parent + b"/" + target, links + 1)
        if not here.startswith(b"/proc/"):
            view.folders[path] = found
        return found

    def outside(self, view, path):
        """Where the tracer finds a path of a process."""
        return path if view.own or path.startswith(b"/proc/") else view.prefix + path

    def real_path(self, view, pid, path):
        """The path with its folder resolved: the last name may be a link."""
        head, _slash, name = path.rpartition(b"/")
        if name in (b"", b".", b".."):
            return self.real_folder(view, pid, path) or b"/"
        return self.real_folder(view, pid, head) + b"/" + name

    def chain(self, view, pid, path, follow=True):
        """[(real path, stat or None), …]: the file, and before it the links that led there. Empty for what has no
        name of its own (a pipe behind /dev/stdin)."""
        found = []
        for _step in range(MOST_LINKS):
            path = self.real_path(view, pid, path)
            try:
                status = os.lstat(self.outside(view, path))
            except OSError:
                status = None
            linked = status is not None and stat.S_ISLNK(status.st_mode)
            if not path.startswith(b"/proc/") or not linked:
                found.append((path, status))
            if not linked or not follow:
                return found
            target = os.readlink(self.outside(view, path))
            if path.startswith(b"/proc/") and (target[:1] != b"/" or target.endswith(b" (deleted)")):
                return []
            path = target if target[:1] == b"/" else path.rpartition(b"/")[0] + b"/" + target
        return found

    # Writing down

    def add(self, view, pid, path, letters, status=None, preimage=b"-"):
        """What is new about a path; `status` as it was before."""
        if path.startswith(self.hidden):
            return
        if path.startswith(b"/proc/%d/" % pid):
            path = b"/proc/self/" + path.split(b"/", 3)[3]
        known = view.letters.get(path)
        if known is None:
            new, known = letters, ""
        else:
            new = "".join(letter for letter in letters if letter not in known)
            if not new and preimage == b"-":
                return
        view.letters[path] = known + new
        before = b"-"
        if status is not None and not known:
            before = b"%d,%d,%d,%d" % (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
        self.lines.append(b"A %b %b %b %b\0" % (new.encode() or b"-", before, preimage, path))

    def absent(self, view, pid, path):
        view.reads.discard(path)
        if path.startswith(self.below):
            self.add(view, pid, path, "a")

    def keep(self, view, pid, path, status, removal=False):
        """The bytes of a file that is about to be changed, the first time; returns the name they are kept by."""
        letters = view.letters.get(path, "")
        if not path.startswith(self.below) or path.startswith(self.hidden) or not stat.S_ISREG(status.st_mode):
            return b"-"
        if any(letter in letters for letter in "wctnd"):
            return b"-"
        name = b"%d" % self.preimages
        target = os.path.join(self.scratch, b"preimages", name)
        if not self.copy(self.outside(view, path), target, status, path, removal):
            return b"-"
        self.preimages += 1
        return name

    def copy(self, source, target, status, path, removal):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        self.page[KEEPING] = 1
        try:
            return self.copy_bytes(source, target, status, path, removal)
        except OSError as error:
            self.note("what %s held before it was changed could not be kept (%s)" % (_shown(path), error.strerror))
            _unlink(target)
            return False
        finally:
            self.page[KEEPING] = 0

    def copy_bytes(self, source, target, status, path, removal):
        """By reflink; a large file that is about to lose its name by giving it another; else byte by byte."""
        if removal and status.st_size > LARGE and _linked(source, target):
            return True
        reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                if _cloned(reader, writer):
                    return True
                if status.st_size > self.limit:
                    text = "what %s held before it was changed is not kept: %d bytes, more than the limit of %d"
                    self.note(text % (_shown(path), status.st_size, self.limit))
                    _unlink(target)
                    return False
                block = os.read(reader, LARGE)
                while block:
                    while block:
                        block = block[os.write(writer, block) :]
                    block = os.read(reader, LARGE)
                return True
            finally:
                os.close(writer)
        finally:
            os.close(reader)

    # What processes do

    def will_open(self, pid, view, path, flags):
        """A file is about to be opened in a way that was not seen before. What is only read is looked at later, many
        at once, which costs a third; but before anything changes by what a process does."""
        if flags & CHANGING or path.startswith(BY_PROCESS):
            self.settle()
            return self.opened(pid, view, path, flags)
        view.reads.add(path)
        self.pending.append((pid, view, path, flags))
        if len(self.pending) > MOST_PENDING:
            self.settle()

    def settle(self):
        """Look at the files that are being read."""
        pending, self.pending = self.pending, []
        for pid, view, path, flags in pending:
            try:
                if not self.plainly_read(view, path):
                    self.opened(pid, view, path, flags)
            except Exception as error:
                self.failed(pid, error)

    def plainly_read(self, view, path):
        """The usual case, quickly: a regular file that was not seen before, in a folder that is known and no link."""
        folder = path[: path.rfind(b"/")]
        if view.folders.get(folder) != folder or path in view.letters or path.startswith(self.hidden):
            return False
        try:
            status = os.lstat(path if view.own else view.prefix + path)
        except OSError:
            return False
        if not stat.S_ISREG(status.st_mode) or path.endswith(ODD_NAMES):
            return False
        view.letters[path] = "r"
        self.lines.append(
            b"A r %d,%d,%d,%d - %b\0"
            % (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns, path)
        )
        return True

    def opened(self, pid, view, path, flags):
        """A file is about to be opened."""
        if flags & PATH_ONLY or flags & UNNAMED == UNNAMED:
            return
        chain = self.chain(view, pid, path, not flags & NO_FOLLOW)
        if not chain:
            return
        real, status = chain[-1]
        for link, _status in chain[:-1]:
            self.add(view, pid, link, "r", status)
        if status is None:
            view.reads.discard(path)
            self.opened_absent(pid, view, real, flags)
        elif stat.S_ISDIR(status.st_mode):
            self.add(view, pid, real, "l", status)
        elif stat.S_ISLNK(status.st_mode) or (flags & CREATE and flags & EXCLUSIVE):
            return  # fails: it must not be a link, or must not be there
        elif flags & ACCESS_MODE == 0 and not flags & TRUNCATE:
            self.add(view, pid, real, "r", status)
        else:
            letters = "tw" if flags & TRUNCATE else "rw" if flags & ACCESS_MODE == 2 else "w"
            self.add(view, pid, real, letters, status, self.keep(view, pid, real, status))

    def opened_absent(self, pid, view, path, flags):
        if not flags & CREATE:
            return self.absent(view, pid, path)
        try:
            os.lstat(self.outside(view, path.rpartition(b"/")[0] or b"/"))
        except OSError:
            return self.absent(view, pid, path)
        mode = flags & ACCESS_MODE
        self.add(view, pid, path, "c" if mode == 0 else "cw" if mode == 1 else "cwr")

    def truncated(self, pid, view, path):
        self.will_open(pid, view, path, 1 | TRUNCATE)

    def removed(self, pid, view, path):
        self.settle()
        path = self.real_path(view, pid, path)
        try:
            status = os.lstat(self.outside(view, path))
        except OSError:
            return self.absent(view, pid, path)
        if stat.S_ISDIR(status.st_mode):
            return
        if stat.S_ISLNK(status.st_mode):
            self.unsettle()
        self.add(view, pid, path, "d", status, self.keep(view, pid, path, status, True))

    def renamed(self, pid, view, source, target, exchange=False):
        self.settle()
        source, target = self.real_path(view, pid, source), self.real_path(view, pid, target)
        try:
            status = os.lstat(self.outside(view, source))
        except OSError:
            return self.absent(view, pid, source)
        try:
            replaced = os.lstat(self.outside(view, target))
        except OSError:
            replaced = None
        if not stat.S_ISREG(status.st_mode):
            self.unsettle()
        kept = self.keep(view, pid, source, status)
        kept_target = self.keep(view, pid, target, replaced, not exchange) if replaced else b"-"
        self.add(view, pid, source, "mn" if exchange else "m", status, kept)
        self.add(view, pid, target, "nm" if exchange else "n", replaced, kept_target)
        if stat.S_ISDIR(status.st_mode):
            both = {"from": os.fsdecode(source), "to": os.fsdecode(target)}
            self.lines.append(b"M " + json.dumps(both).encode() + b"\0")

    def linked(self, pid, view, source, target, follow):
        """A second name for a file."""
        self.settle()
        target = self.real_path(view, pid, target)
        chain = self.chain(view, pid, source, follow)
        if chain and chain[-1][1] is None:
            return self.absent(view, pid, chain[-1][0])
        if chain:
            self.add(view, pid, chain[-1][0], "r", chain[-1][1])
        if not os.path.lexists(self.outside(view, target)):
            self.add(view, pid, target, "cn")

    def symlinked(self, pid, view, path):
        self.settle()
        path = self.real_path(view, pid, path)
        self.unsettle()
        if not os.path.lexists(self.outside(view, path)):
            self.add(view, pid, path, "cw")

    def unsettle(self):
        """Names may lead elsewhere from now on."""
        for view in self.views.values():
            view.folders.clear()
            view.reads.clear()

    def executed(self, pid, view, path, argv):
        """A program is about to be executed. True when this is the command, which the record begins with."""
        begins = False
        if not self.recording:
            if argv[1:] != self.command[1:] or os.path.basename(argv[0]) != os.path.basename(self.command[0]):
                return False
            self.recording = begins = True
        real = self.program(pid, view, path)
        if real is None:
            return begins
        if self.program_count >= MOST_PROCESSES:
            self.note("only the first %d programs that were executed are listed" % MOST_PROCESSES)
            return begins
        self.program_count += 1
        self.lines.append(b"P " + json.dumps({
            "pid": pid, "parent": _parent(pid),
            "executable": os.fsdecode(real), "argv": [os.fsdecode(word) for word in argv],
        }).encode() + b"\0")  # fmt: skip
        return begins

    def program(self, pid, view, path, depth=0):
        """Note a program file and what the kernel opens to run it; its real path, or None when it cannot be run."""
        chain = self.chain(view, pid, path)
        if not chain:
            return path
        real, status = chain[-1]
        if status is None:
            return self.absent(view, pid, real)
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            return None
        for link, _status in chain:
            self.add(view, pid, link, "x", status)
        if status.st_mode & stat.S_ISUID and self.no_privileges:
            self.note("%s was executed without the privileges it asks for (set-user-id)" % _shown(real))
        if (real, id(view)) not in self.executed_files and depth < 5:
            self.executed_files.add((real, id(view)))
            interpreter = _interpreter(self.outside(view, real))
            if interpreter:
                self.program(pid, view, self.absolute(pid, HERE, interpreter) or interpreter, depth + 1)
        return real

    def arguments(self, pid, address, width):
        """The argv of an exec."""
        address &= ADDRESS
        words, total = [], 0
        while address and total < MOST_ARGUMENTS:
            block = self.read(pid, address, width * 32)
            pointers = [int.from_bytes(block[at : at + width], "little") for at in range(0, len(block), width)]
            for pointer in pointers:
                if not pointer:
                    return words
                words.append(self.text(pid, pointer, MOST_ARGUMENTS))
                total += len(words[-1]) + 1
            if not pointers:
                break
            address += len(block)
        return words

    def connected(self, pid, descriptor, data):
        """`data`: the socket address."""
        if len(data) < 2:
            return
        family = struct.unpack_from("=H", data)[0]
        if family == socket.AF_UNIX:
            name = data[2:]
            name = b"@" + name[1:] if name[:1] == b"\0" else name.split(b"\0")[0]
            text = b"unix:" + name.replace(b"\0", b"@")
        elif family == socket.AF_INET and len(data) >= 8:
            host = socket.inet_ntop(family, data[4:8])
            text = ("%s:%s:%d" % (self.kind(pid, descriptor), host, int.from_bytes(data[2:4], "big"))).encode()
        elif family == socket.AF_INET6 and len(data) >= 24:
            host = socket.inet_ntop(family, data[8:24])
            text = ("%s:[%s]:%d" % (self.kind(pid, descriptor), host, int.from_bytes(data[2:4], "big"))).encode()
        else:
            return
        if text not in self.addresses:
            self.addresses.add(text)
            self.lines.append(b"C " + text + b"\0")

    def kind(self, pid, descriptor):
        """`tcp` or `udp`: of a socket of another process, by a descriptor of our own for it."""
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        process = libc.syscall(ctypes.c_long(434), ctypes.c_long(_leader(pid)), ctypes.c_long(0))
        if process < 0:
            return "tcp"
        copy = libc.syscall(ctypes.c_long(438), ctypes.c_long(process), ctypes.c_long(descriptor), ctypes.c_long(0))
        os.close(process)
        if copy < 0:
            return "tcp"
        with socket.socket(fileno=copy) as ours:
            return "udp" if ours.type == socket.SOCK_DGRAM else "tcp"


def _unlink(path):
    try:
        os.unlink(path)
    except OSError:
        pass


def _linked(source, target):
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        return False
    return True


def _cloned(reader, writer):
    try:
        fcntl.ioctl(writer, FICLONE, reader)
    except OSError:
        return False
    return True


def _namespace(pid):
    """What tells one view of the file system from another."""
    root = os.stat(b"/proc/%b/root" % pid)
    return os.readlink(b"/proc/%b/ns/mnt" % pid), root.st_dev, root.st_ino


def _parent(pid):
    with open("/proc/%d/stat" % pid, "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def _leader(pid):
    """The process that a thread belongs to."""
    with open("/proc/%d/status" % pid, "rb") as file:
        for line in file:
            if line.startswith(b"Tgid:"):
                return int(line.split()[1])
    return pid


def _interpreter(path):
    """What the kernel opens to run a program: the `#!` of a script, the loader of a dynamic executable."""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(4096)
    except OSError:
        return None
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n", 1)[0].split()
        return words[0] if words else None
    if not head.startswith(b"\x7fELF") or len(head) < 64:
        return None
    wide = head[4] == 2
    table = struct.unpack_from("=Q" if wide else "=I", head, 32 if wide else 28)[0]
    size, count = struct.unpack_from("=HH", head, 54 if wide else 42)
    for at in range(table, min(table + size * count, len(head) - size + 1), size or 1):
        if struct.unpack_from("=I", head, at)[0] == 3:  # PT_INTERP
            offset = struct.unpack_from("=Q" if wide else "=I", head, at + (8 if wide else 4))[0]
            return head[offset:].split(b"\0", 1)[0] or None
    return None


def _shown(path):
    return path.decode("utf-8", "backslashreplace")
