"""The guard: keeps the training alive when the tracer or the supervisor dies. It sleeps until then.

Standalone: standard library only, Python 3.8 or newer.
"""

import fcntl
import os
import select
import signal
import socket
import time

import seccomp
from channel import ANSWER, KEEPING, PAGE, UNSEEN, close_others, hear

STUCK = 2.0
"""Seconds after which a call that the tracer has not answered is let go on."""


def stand_guard(channel, watched, listener, page, others):
    """Start the guard, as nobody's child."""
    middle = os.fork()
    if middle:
        os.waitpid(middle, 0)
        return
    try:
        if os.fork():
            os._exit(0)
        for each in others:
            each.close()
        close_others({channel.fileno(), watched.fileno(), listener})
        Guard(channel, watched, listener, page).run()
    finally:
        os._exit(0)


class Guard:
    """Waits for a sign that another has died or hangs."""

    def __init__(self, channel, watched, listener, page):
        self.channel, self.watched, self.listener, self.page = channel, watched, listener, page
        self.buffer = bytearray(PAGE)
        self.buffer[ANSWER : ANSWER + 24] = seccomp.RESPONSE.pack(0, 0, 0, seccomp.CONTINUE)
        self.traced = True
        self.over = False
        self.supervised = True
        self.streams = {}
        """Descriptor of output -> (letter, file, bytes so far)."""
        self.order = None
        self.last = (None, 0.0)
        """Which notifications the tracer was seen to have received and answered last, and since when."""
        self.standing_in = False

    def run(self):
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.watched, select.POLLIN)
        while self.needed():
            for number, events in poll.poll(int(STUCK * 500)):
                if number == self.channel.fileno():
                    self.supervisor_speaks(poll)
                elif number == self.watched.fileno():
                    self.tracer_speaks(poll)
                elif number == self.listener:
                    if events & select.POLLHUP:
                        poll.unregister(number)
                        self.listener = -1
                    else:
                        self.answer()
                elif number in self.streams and not self.drain(number):
                    poll.unregister(number)
                    self.close(number)
            if self.traced and self.listener >= 0:
                self.look_after(poll)

    def needed(self):
        return self.traced or self.supervised or self.listener >= 0 or bool(self.streams)

    def supervisor_speaks(self, poll):
        message, descriptors = hear(self.channel)
        if message is not None and "over" in message:
            self.over = True
            return
        if message is not None:
            self.order = message
            if message.get("group") is not None:
                self.join(message["group"])
            for letter, number in zip(message["streams"], descriptors):  # noqa: B905
                self.streams[number] = letter
            return
        poll.unregister(self.channel)
        self.supervised = False
        for number in self.streams:
            poll.register(number, select.POLLIN)

    def join(self, group):
        """Become a member of the command's group, to tell which signals went to all of it."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
            signal.signal(number, self.heard)
        try:
            os.setpgid(0, group)
        except OSError:
            pass

    def heard(self, number, _frame):
        try:
            self.channel.send(bytes([number]), socket.MSG_DONTWAIT)
        except OSError:
            pass

    def tracer_speaks(self, poll):
        try:
            said = self.watched.recv(16)
        except OSError:
            said = b""
        if said:
            self.over = True
            return
        poll.unregister(self.watched)
        self.traced = False
        if self.listener >= 0:
            self.let_go(self.page[:8])
            self.standing_in = False
            poll.register(self.listener, select.POLLIN)

    def look_after(self, poll):
        """A tracer that waits for a file system which waits for the command would wait for ever; and one that was
        stopped answers nobody. Stand in for it until it moves."""
        place, now = (self.page[:8], self.page[ANSWER : ANSWER + 8]), time.monotonic()
        held_up = place == self.last[0] and (any(place[0]) or self.standing_in or self.somebody_waits())
        if not held_up:
            self.last = (place, now)
            if self.standing_in:
                self.standing_in = False
                poll.unregister(self.listener)
        elif now - self.last[1] >= STUCK and not self.standing_in:
            self.standing_in = True
            self.page[UNSEEN] = 1
            if any(place[0]) and not self.page[KEEPING]:
                self.let_go(place[0])
            poll.register(self.listener, select.POLLIN)

    def somebody_waits(self):
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        return any(events & select.POLLIN for _number, events in poll.poll(0))

    def answer(self):
        """Let a call go on, unseen."""
        self.buffer[:80] = bytes(80)
        try:
            fcntl.ioctl(self.listener, seccomp.RECV, self.buffer)
        except OSError:
            return
        self.let_go(self.buffer[:8])

    def let_go(self, ident):
        self.buffer[ANSWER : ANSWER + 8] = ident
        try:
            fcntl.ioctl(self.listener, seccomp.SEND, memoryview(self.buffer)[ANSWER:])
        except OSError:
            pass  # it was answered, or its process is gone

    def drain(self, number):
        """Take output that nobody else takes any more; False at its end."""
        try:
            data = os.read(number, 1 << 16)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if data and not self.over:
            self.keep(self.streams[number], data)
        return bool(data)

    def keep(self, letter, data):
        names = {"o": "stdout", "e": "stderr"}
        try:
            path = os.path.join(self.order["scratch"], names[letter])
            with open(path, "ab", buffering=0) as file:
                offset = file.tell()
                file.write(data)
            with open(os.path.join(self.order["scratch"], "lines"), "a") as file:
                file.write("%d %s %d\n" % (time.time_ns(), letter, offset))
        except OSError:
            pass

    def close(self, number):
        del self.streams[number]
        os.close(number)
