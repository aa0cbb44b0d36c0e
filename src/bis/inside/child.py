"""The process that becomes the command: it proves that tracing works here, waits for its order, and obeys.

Standalone: standard library only, Python 3.8 or newer.
"""

import errno
import fcntl
import json
import os
import select
import signal
import socket
import sys
import termios
import time

import seccomp
from channel import ANSWER, hear, say

CHECK = b"/dev/null"


def begin(start, mode, page, others):
    """Fork the process that will be the command. Returns the listener (-1: none), its pid and what is known."""
    if mode != "notify":
        return -1, fork_child(start, None, others), {"mechanism": "none"}
    try:
        seccomp.tables()
        ours, theirs = socket.socketpair()
        child = fork_child(start, theirs, (*others, ours))
        theirs.close()
        try:
            listener, facts = check(ours, child, page)
            return listener, child, facts
        except BaseException:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        finally:
            ours.close()
    except (seccomp.Refused, OSError) as error:
        return -1, fork_child(start, None, others), {"mechanism": "none", "why": str(error)}


def fork_child(start, trial, others):
    child = os.fork()
    if child:
        return child
    try:
        for each in others:
            each.close()
        if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        if trial is not None:
            put_filter(trial)
        obey(start)
    except BaseException as error:
        sys.stderr.write("bis: %r\n" % (error,))
    finally:
        os._exit(125)


def put_filter(trial):
    """In the child: install the filter, hand over the listener, and open a file for a proof."""
    try:
        listener, no_privileges = seccomp.install(open_devices)
    except seccomp.Refused as refused:
        say(trial, {"refused": str(refused)})
        os._exit(0)
    message = json.dumps({"no_privileges": no_privileges}).encode() + b"\n"
    trial.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, listener.to_bytes(4, sys.byteorder))])
    os.close(listener)
    os.close(os.open(CHECK, os.O_RDONLY))
    trial.close()


def open_devices():
    """Without set-user-id programs, nvidia-modprobe can no longer make the device files that the first program to use
    a card needs: have it make them now. The cards themselves are not opened, as that can take seconds."""
    if os.path.exists("/proc/driver/nvidia") and not os.path.exists("/dev/nvidia-uvm"):
        for path in ("/usr/bin/nvidia-modprobe", "/usr/sbin/nvidia-modprobe"):
            if os.path.exists(path):
                os.spawnv(os.P_WAIT, path, ["nvidia-modprobe", "-c0", "-u"])
    for path in ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/kfd"):
        try:
            os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        except OSError:
            pass  # no such card


def check(trial, child, page):
    """Prove that an opening is seen, can be read, and goes on. Raises Refused."""
    message, descriptors = hear(trial)
    if message is None or "refused" in message:
        raise seccomp.Refused((message or {}).get("refused", "the trial of the filter failed"))
    listener = descriptors[0]
    try:
        fcntl.ioctl(listener, seccomp.SET_FLAGS, seccomp.SYNC_WAKE_UP)
    except OSError:
        pass  # Linux before 6.6: slower, no less true
    incoming, outgoing = memoryview(page)[:ANSWER], memoryview(page)[ANSWER:]
    signal.alarm(5)
    fcntl.ioctl(listener, seccomp.RECV, incoming)
    ident, pid, _flags, _number, _architecture, _at, _folder, path = seccomp.NOTIFICATION.unpack_from(page)[:8]
    try:
        with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
            seen = os.pread(memory.fileno(), len(CHECK), path)
    except OSError as error:
        raise seccomp.Refused("the memory of a child process cannot be read (%s)" % error.strerror) from None
    if seen != CHECK:
        raise seccomp.Refused("the memory of a child process reads as something else")
    page[ANSWER : ANSWER + 8] = ident.to_bytes(8, sys.byteorder)
    fcntl.ioctl(listener, seccomp.SEND, outgoing)
    signal.alarm(0)
    page[:80] = bytes(80)
    return listener, {"mechanism": "notify", "no_privileges": message["no_privileges"]}


def obey(start):
    """Wait for the order and become the command. Its pid is reported on the fourth descriptor, then what failed, as
    JSON lines; that it closes means that the command has begun."""
    order, descriptors = hear(start)
    if order is None:
        os._exit(0)
    inputs, report, terminal = descriptors[:3], descriptors[3], descriptors[4:]
    if terminal and sys.platform == "linux":
        lead(terminal[0], descriptors)
    elif terminal:
        own(terminal[0])
    elif order["group"] is not None:
        os.setpgid(0, order["group"])
    tell(report, {"pid": os.getpid()})
    step = "folder"
    try:
        report = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, 10)
        inputs = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 10) for number in inputs]
        for number, source in enumerate(inputs):
            os.dup2(source, number)
        os.umask(order["umask"])
        os.chdir(os.fsencode(order["folder"]))
        for each in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(each, signal.SIG_DFL)
        step = "command"
        become([os.fsencode(word) for word in order["command"]], order["variables"])
    except (OSError, ValueError) as error:
        tell(report, {"step": step, "errno": getattr(error, "errno", None) or errno.EINVAL})
    os._exit(127)


def tell(report, message):
    os.write(report, json.dumps(message).encode() + b"\n")


def lead(terminal, descriptors):
    """Be the leader of a session on a terminal, and let a new process become the command.

    When a leader ends, the kernel ends what is in the foreground of its terminal. The command must not be the leader
    then: children that outlive it for a moment, to tidy up, or for good, would not survive it."""
    own(terminal)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    pid = adopted_child()
    if pid == 0:
        signal.signal(signal.SIGHUP, before)
        os.setpgid(0, 0)
        put_in_front(terminal)
        return
    for number in {0, 1, 2, *descriptors} - {terminal}:
        os.close(number)
    wait_for(pid)
    put_in_front(terminal)  # now the foreground is this process, and its end the end of nobody else
    os._exit(0)


def own(terminal):
    """Begin a session on a terminal."""
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def adopted_child():
    """Fork a process that is a child of the tracer, which takes orphans. Returns its pid, in it 0."""
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        inner = os.fork()
        if inner == 0:
            os.close(reader)
            os.close(writer)
            return 0
        os.write(writer, b"%d" % inner)
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(writer)
    pid = int(os.read(reader, 16))
    os.close(reader)
    return pid


def put_in_front(terminal):
    """Make the own process group the one that the terminal's keys are for."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        os.tcsetpgrp(terminal, os.getpgrp())
    except OSError:
        pass  # the terminal is gone
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTTOU})


def wait_for(pid):
    """Sleep until a process that is not our child has ended."""
    try:
        watched = os.pidfd_open(pid)
        select.select([watched], [], [])
    except (AttributeError, OSError):
        while is_there(pid):
            time.sleep(0.2)


def is_there(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def become(command, variables):
    """Execute a command as a shell would: looked up in PATH, and a script without `#!` by /bin/sh."""
    environment = {os.fsencode(name): os.fsencode(value) for name, value in variables.items()}
    name = command[0]
    folders = environment.get(b"PATH", os.fsencode(os.defpath)).split(b":")
    candidates = [name] if b"/" in name else [os.path.join(folder or b".", name) for folder in folders]
    worst = errno.ENOENT
    for path in candidates:
        try:
            os.execve(path, command, environment)
        except OSError as error:
            if error.errno == errno.ENOEXEC and is_text(path):
                os.execve(b"/bin/sh", [b"sh", path, *command[1:]], environment)
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                raise
            # A file that is there and may not be executed is the better explanation.
            if error.errno == errno.EACCES or worst != errno.EACCES:
                worst = error.errno
    raise OSError(worst, os.strerror(worst))


def is_text(path):
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError:
        return False
    return bool(head) and b"\0" not in head
