"""Report which addresses are connected to, and which host names were looked up: a tracer sees numbers only."""

import _bis_core as core


def watch(module):
    """Called when `socket` has just been imported."""
    for name in ("connect", "connect_ex"):
        setattr(module.socket, name, _connecting(getattr(module.socket, name)))
    module.getaddrinfo = _looking_up(module.getaddrinfo)


def _connecting(inner):
    def connect(self, address, /):
        try:
            _tell(self, address)
        except Exception:
            core.trouble()
        return inner(self, address)

    return core.alike(connect, inner)


def _tell(socket, address):
    if isinstance(address, tuple):
        kind = "udp" if socket.type == 2 else "tcp"
        host = "[%s]" % address[0] if ":" in str(address[0]) else core.spell(address[0])
        core.once({"e": "connect", "a": "%s:%s:%s" % (kind, host, address[1])})
    elif isinstance(address, (str, bytes)):
        core.once({"e": "connect", "a": "unix:" + core.spell(address)})


def _looking_up(inner):
    def getaddrinfo(host, *args, **options):
        if host and isinstance(host, (str, bytes)):
            core.once({"e": "name", "h": host})
        return inner(host, *args, **options)

    return core.alike(getaddrinfo, inner)
