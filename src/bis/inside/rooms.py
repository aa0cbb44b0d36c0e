"""Run a command in a room: folders mounted at other paths, in a private mount namespace.

    python -I -S rooms.py SPEC.json -- command…

Standalone: standard library only, Python 3.8 or newer, Linux. The specification is one JSON object:

    mounts   in order: {"bind": SOURCE, "at": TARGET, "write": true} shows SOURCE at TARGET;
             {"hide": PATH} puts an empty folder (or file) over PATH, if there is one;
             {"absent": PATH} shows nothing at PATH: its folder is made up, and what is written there stays in `made`;
             {"copy": SOURCE, "at": TARGET} puts a copy of a file there, which can be removed and renamed as any other.
             Sources are meant as they are before any of this.
    seal     optional. What is neither mounted for writing nor made up is read-only, except for
             {"live": [PATH, …], "shared": {FOLDER: [NAME, …]}}: what is below a live path, and those names of a shared
             folder, which is made up. File systems of the kernel (/proc, /sys) stay as they are.
    folder   where the command starts, as seen in the room
    scratch  a folder of the caller's: `made` below it mirrors what had to be made up
    report   a file: one line of JSON, `ready` when the command is about to start, else `error`

A target whose parents do not exist, or lead through a symbolic link, gets them: the nearest existing folder is
replaced by one that is made up of binds of all that it held, with the missing name beside them. Up to the root,
if it must be. Nothing outside the namespace changes, except below `scratch` and for empty mount points in
sources that are bound for writing; the namespace goes with its last process, however that ends.

The command replaces this process, with the environment that this process was given. If it cannot be started,
the exit status is 125.
"""

import ctypes
import errno
import json
import os
import signal
import stat
import sys

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC = 1024, 2048, 4096, 16384
MS_SLAVE, MS_RELATIME = 1 << 19, 1 << 21
MNT_DETACH = 2
ST_RELATIME = 4096
KEPT_FLAGS = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME

KERNEL = frozenset(
    """proc sysfs devtmpfs devpts mqueue hugetlbfs cgroup cgroup2 debugfs tracefs securityfs binfmt_misc bpf
    autofs""".split()
)
FAILED = 125
BLOCK = 1 << 20
libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    def __init__(self, step, path, number):
        Exception.__init__(self, step, path, number)
        self.step, self.path, self.number = step, path, number


def main(argv):
    if len(argv) < 4 or argv[2] != "--":
        sys.stderr.write("usage: rooms.py SPEC.json -- command…\n")
        return FAILED
    try:
        with open(argv[1], "rb") as file:
            spec = json.loads(file.read().decode("ascii"))
        report = os.open(spec["report"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write("rooms.py: %s: %s\n" % (argv[1], error))
        return FAILED
    try:
        room = Room(spec["scratch"])
        room.furnish(spec["mounts"], spec.get("seal"))
        attempt("chdir", spec["folder"], os.chdir, spec["folder"])
        say(
            report,
            {
                "ready": True,
                "where": {path: where for path, (_, where) in room.mounts.items()},
                "lost": room.lost,
                "open": room.open,
            },
        )
        become(argv[3:])
    except Refused as refused:
        number = refused.number
        say(report, {"error": os.strerror(number), "step": refused.step, "path": refused.path, "errno": number})
    except Exception as error:
        say(report, {"error": repr(error), "step": "room", "path": "", "errno": 0})
    return FAILED


class Room:
    """A private mount namespace; entering it is the constructor."""

    def __init__(self, scratch):
        enter()
        self.named = os.path.join(scratch, "made")
        # By descriptor: a mount may come to lie over the scratch folder's own path.
        self.scratch = "/proc/self/fd/%d" % opened(scratch)
        self.store = self.scratch + "/made"
        self.again = 0
        self.lost = []
        """What could not be shown again in a folder that was made up."""
        self.open = []
        """What could not be made read-only."""
        self.exchanged = False
        self.mounts = {"/": ("other", "/")}
        """Mount point, unless covered -> its kind: `ours` (names may be made in it), `bound` (a source, for writing)
        or `other`; and where it lies outside of the room."""

    def furnish(self, mounts, seal=None):
        attempt("scratch", self.store, os.makedirs, self.store, 0o755, True)
        sources = [opened(entry[word]) for entry in mounts for word in ("bind", "copy") if word in entry]
        if seal is not None:
            self.leave_open(seal["live"], seal["shared"])
        for entry in mounts:
            source = sources.pop(0) if "bind" in entry or "copy" in entry else None
            if "copy" in entry:
                self.copy(source, entry["copy"], entry["at"])
            elif "hide" in entry:
                self.hide(os.path.realpath(entry["hide"]))
            elif "absent" in entry:
                self.absent(os.path.normpath(entry["absent"]))
            else:
                self.bind(source, entry["bind"], entry["at"], entry.get("write", True))
        if self.exchanged:
            # Only now: the sources are known by descriptors of the old root, which lies over the new one unseen.
            os.chdir("/")
            check("unmount", "/", libc.umount2(b".", MNT_DETACH))
        if seal is not None:
            self.seal()

    def leave_open(self, live, shared):
        """Give places a mount of their own, so that they stay as they are when the rest becomes read-only."""
        for path in live:
            if os.path.isdir(path) and not os.path.islink(path):
                self.bind(opened(path), path, path, True)
        for folder, names in shared.items():
            self.make_up(folder)
            for name in names:
                inner = os.path.join(folder, name)
                if inner in self.mounts:
                    self.mounts[inner] = ("bound", self.mounts[inner][1])

    def seal(self):
        """Make read-only whatever is of the machine. A mount that another covers cannot be reached, and need not be."""
        with open("/proc/self/mountinfo", "rb") as file:
            lines = file.read().split(b"\n")
        for line in lines:
            words, _, rest = line.partition(b" - ")
            if not rest or rest.split(b" ", 1)[0].decode() in KERNEL:
                continue
            path = os.fsdecode(words.split(b" ")[4].decode("unicode_escape").encode("latin-1"))
            if self.kind(path) == "other":
                try:
                    protect(path)
                except (Refused, OSError) as error:
                    number = error.number if isinstance(error, Refused) else error.errno
                    if number not in (errno.EINVAL, errno.ENOENT):
                        self.open.append(path)

    def bind(self, source, where, target, write):
        target = self.ensure(os.path.normpath(target), stat.S_ISDIR(os.fstat(source).st_mode))
        mount("/proc/self/fd/%d" % source, target, MS_BIND | MS_REC)
        if not write:
            protect(target)
        self.cover(target, "bound" if write else "other", where)

    def copy(self, source, where, target):
        """A file of the command's own, in a folder that is made up; where the folder was bound, it is there already."""
        target = self.absent(os.path.normpath(target))
        if self.kind(os.path.dirname(target)) == "ours":
            attempt("copy", where, copied, "/proc/self/fd/%d" % source, target)

    def hide(self, path):
        try:
            found = os.stat(path)
        except OSError:
            return
        if path == "/":
            raise Refused("hide", path, errno.EINVAL)
        mount(self.empty(path, found), path, MS_BIND)
        self.cover(path, "ours", self.named + path)

    def absent(self, path):
        folder = os.path.dirname(path)
        if folder != "/":
            folder = self.ensure(folder, True)
        if self.kind(folder) == "other":
            self.make_up(folder)
        path = os.path.join(folder, os.path.basename(path))
        if self.kind(folder) == "ours" and mode_of(path):
            self.clear(path)
        return path

    def ensure(self, target, folder):
        """The target, made to be a folder (or a file) that is reached without symbolic links."""
        here, names = "/", target.strip("/").split("/")
        if names == [""]:
            raise Refused("bind", target, errno.EINVAL)
        for name in names[:-1]:
            here = self.name(here, name, True)
        return self.name(here, names[-1], folder)

    def name(self, parent, name, folder):
        path = os.path.join(parent, name)
        mode = attempt("look", path, mode_of, path)
        link = stat.S_ISLNK(mode)
        if mode and not link and stat.S_ISDIR(mode) == folder:
            return path
        if link and self.kind(parent) == "bound":
            return os.path.realpath(path)
        shown = os.path.realpath(path) if link and folder and os.path.isdir(path) else ""
        where = self.mount_of(shown)[1] if shown else ""
        if self.kind(parent) == "other":
            self.make_up(parent)
        if mode:
            self.clear(path)
        attempt("make", path, make, path, folder)
        if shown:
            mount(shown, path, MS_BIND | MS_REC)
            self.cover(path, "other", where)
        return path

    def clear(self, path):
        """Take away a placeholder with what is bound over it. Never anything of a source."""
        if self.kind(os.path.dirname(path)) != "ours":
            raise Refused("make", path, errno.EEXIST)
        libc.umount2(os.fsencode(path), MNT_DETACH)
        folder = os.path.isdir(path) and not os.path.islink(path)
        attempt("make", path, os.rmdir if folder else os.unlink, path)
        self.mounts.pop(path, None)

    def make_up(self, path):
        """Replace a folder by one of ours which shows all that it held."""
        names, where = attempt("list", path, os.listdir, path), self.mount_of(path)[1]
        empty = self.outline(path, names)
        if path == "/":
            self.exchange_root(names)
        else:
            old = opened(path)
            mount(empty, path, MS_BIND)
            os.fchdir(old)
            self.fill(names, ".", path, path)
            os.close(old)
        self.mounts[path] = ("ours", os.path.dirname(self.named) + empty[len(self.scratch) :])
        for name in names:
            inner = os.path.join(path, name)
            if inner not in self.lost and not os.path.islink(inner):
                self.mounts.setdefault(inner, ("other", os.path.join(where, name)))

    def exchange_root(self, names):
        """The root cannot be mounted over: from a bare root in between, which sees the old and the new one, the new
        one is filled and put in its place."""
        base = self.scratch + "/base"
        attempt("scratch", base, os.makedirs, base, 0o700, True)
        mount("tmpfs", base, 0, "tmpfs")
        os.mkdir(base + "/old")
        os.mkdir(base + "/new")
        pivot(base, base + "/old")
        os.chdir("/")
        mount("/old" + self.store, "/new", MS_BIND)
        self.fill(names, "/old", "/new", "/")
        os.chdir("/new")
        pivot(".", ".")
        os.chdir("/")
        self.exchanged = True

    def outline(self, path, names):
        """A placeholder for each name in a folder, below the scratch folder."""
        empty = self.empty(path, os.stat(path))
        if path != "/" and os.listdir(empty):
            # What stood there before, and lies unseen below what was mounted since, has the names of that time.
            self.again += 1
            empty = self.empty(path, os.stat(path), "again-%d" % self.again)
        for name in names:
            inner, placeholder = os.path.join(path, name), os.path.join(empty, name)
            if os.path.lexists(placeholder):
                continue
            if os.path.islink(inner):
                attempt("make", placeholder, os.symlink, os.readlink(inner), placeholder)
            else:
                attempt("make", placeholder, make, placeholder, os.path.isdir(inner))
        return empty

    def fill(self, names, old, new, path):
        """Show over the placeholders in `new`, which is to be `path`, what is in `old`."""
        for name in names:
            source = os.path.join(old, name)
            if os.path.islink(source):
                continue
            try:
                mount(source, os.path.join(new, name), MS_BIND | MS_REC)
            except Refused:
                self.lost.append(os.path.join(path, name))

    def empty(self, path, like, below="made"):
        """What stands for `path` below the scratch folder."""
        place = "%s/%s%s" % (self.scratch, below, path.rstrip("/"))
        attempt("scratch", place, os.makedirs, os.path.dirname(place), 0o755, True)
        if not os.path.lexists(place):
            attempt("scratch", place, make, place, stat.S_ISDIR(like.st_mode))
        os.chmod(place, stat.S_IMODE(like.st_mode) | stat.S_IRWXU)
        if os.geteuid() == 0:
            try:
                os.chown(place, like.st_uid, like.st_gid)
            except OSError:
                pass
        return place

    def kind(self, path):
        return self.mount_of(path)[0]

    def mount_of(self, path):
        """The kind of the mount that a path is on, and where the path lies outside of the room."""
        point = path
        while point not in self.mounts:
            point = os.path.dirname(point) or "/"
        kind, where = self.mounts[point]
        return kind, os.path.join(where, os.path.relpath(path, point)) if path != point else where

    def cover(self, path, kind, where):
        """Something was mounted at `path`: what was below is not seen any more."""
        inside = path.rstrip("/") + "/"
        for below in [other for other in self.mounts if other.startswith(inside)]:
            del self.mounts[below]
        self.mounts[path] = (kind, where)


def enter():
    """A mount namespace of this process alone; where that needs a user namespace, with the user as they were."""
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
        user, group = os.geteuid(), os.getegid()
        check("unshare", "", libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
        for name, line in (("setgroups", "deny"), ("uid_map", "%d %d 1"), ("gid_map", "%d %d 1")):
            own = user if name == "uid_map" else group
            attempt("map", name, write, "/proc/self/" + name, line % (own, own) if "%" in line else line)
    # Not private: what the system unmounts outside is to go here too. Nothing goes the other way.
    mount("none", "/", MS_REC | MS_SLAVE)


def opened(path):
    return attempt("open", path, os.open, path, os.O_PATH | os.O_CLOEXEC)


def mount(source, target, flags, kind=None):
    result = libc.mount(
        os.fsencode(source), os.fsencode(target), kind and os.fsencode(kind), ctypes.c_ulong(flags), None
    )
    check("mount", target, result)


def protect(path):
    """Read-only. The flags that the mount has already are locked in a user namespace: they are given again."""
    has = os.statvfs(path).f_flag
    flags = has & KEPT_FLAGS | (MS_RELATIME if has & ST_RELATIME else 0)
    mount("none", path, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def pivot(new, old):
    check("pivot", new, libc.pivot_root(os.fsencode(new), os.fsencode(old)))


def check(what, path, result):
    if result != 0:
        raise Refused(what, path, ctypes.get_errno())


def attempt(what, path, function, *arguments):
    try:
        return function(*arguments)
    except OSError as error:
        raise Refused(what, path, error.errno) from None


def mode_of(path):
    """0 when there is nothing."""
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def make(path, folder):
    if folder:
        os.mkdir(path, 0o755)
    else:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))


def copied(source, target):
    """Bytes and mode. A file without any bytes on disk gets none there either."""
    with open(source, "rb", buffering=0) as reader, open(target, "xb", buffering=0) as writer:
        status = os.fstat(reader.fileno())
        os.fchmod(writer.fileno(), stat.S_IMODE(status.st_mode))
        writer.truncate(status.st_size)
        while status.st_blocks and os.sendfile(writer.fileno(), reader.fileno(), None, BLOCK):
            pass


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def say(report, value):
    os.ftruncate(report, 0)
    os.pwrite(report, (json.dumps(value) + "\n").encode("ascii"), 0)


def become(command):
    """Start the command in this process' place, with what this interpreter changed for itself put back."""
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    attempt("start", command[0], os.execvpe, command[0], command, variables())


def variables():
    """The environment as it was given: an interpreter that starts in the C locale adds to its own copy."""
    try:
        with open("/proc/self/environ", "rb") as file:
            pairs = file.read().split(b"\0")
    except OSError:
        return os.environb
    return dict(pair.split(b"=", 1) for pair in pairs if b"=" in pair)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
