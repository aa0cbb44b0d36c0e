"""Reading a pickle without running it: the opcodes build inert values, and what would be called is only noted.

No class is looked up, no function called, nothing imported: a pickle that would delete a home folder is read as
"something named os.system would be called with this string". Arrays of NumPy, and those that joblib writes between
the opcodes, become `Array`s, so that the order in memory, sharing and memo numbers make no difference.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from typing import Any

from bis.formats import Unreadable
from bis.formats.arrays import Array, without_gaps
from bis.formats.tally import shown
from bis.formats.values import Bag, Made, Name, Pairs

OPCODES = 40_000_000
CORES = ("numpy.core.", "numpy._core.")
WRAPPERS = ("NumpyArrayWrapper",)
MARK = object()


def read_pickle(file: io.BytesIO, joblib: bool = False, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The value that one pickle describes; the file is left behind it. Raises Unreadable when it is damaged."""
    return _Machine(file, joblib, persistent).run()


class _Machine:
    def __init__(self, file: io.BytesIO, joblib: bool, persistent: Callable[[Any], Any] | None) -> None:
        self.file = file
        self.joblib = joblib
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.dropped: list[Any] = []
        """What was called for its effect alone, on nothing that can be told."""

    def run(self) -> Any:
        steps = 0
        try:
            for opcode, arg, _ in pickletools.genops(self.file):
                steps += 1
                if steps > OPCODES:
                    raise Unreadable(f"more than {OPCODES:,} pickle instructions")
                if opcode.name == "STOP":
                    value = self.stack.pop()
                    return (value, self.dropped) if self.dropped else value
                self._step(opcode.name, arg)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
            raise Unreadable(f"a damaged pickle ({type(error).__name__}: {shown(error, 80)})") from None
        raise Unreadable("a pickle that does not end")

    def _step(self, name: str, arg: Any) -> None:
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in PUSHES:
            self.stack.append(arg)
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[arg])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[arg] = self.stack[-1]
        elif name not in ("PROTO", "FRAME"):
            method = getattr(self, "_" + name.lower(), None)
            if method is None:
                raise Unreadable(f"the pickle instruction {name} is not known")
            method(arg)

    def _to_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not MARK:
            place -= 1
            if place < 0:
                raise IndexError("no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _mark(self, arg: Any) -> None:
        self.stack.append(MARK)

    def _memoize(self, arg: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _pop(self, arg: Any) -> None:
        self._drop(self.stack.pop())

    def _pop_mark(self, arg: Any) -> None:
        for item in self._to_mark():
            self._drop(item)

    def _drop(self, value: Any) -> None:
        """A call whose answer is dropped was made for its effect: `setter(object, state)` gives the object a state."""
        if not isinstance(value, Made):
            return
        if isinstance(value.args, tuple) and value.args and isinstance(value.args[0], Made):
            value.args[0].add_state((value.what, value.args[1:]))
        else:
            self.dropped.append(value)

    def _dup(self, arg: Any) -> None:
        self.stack.append(self.stack[-1])

    def _empty_list(self, arg: Any) -> None:
        self.stack.append([])

    def _empty_dict(self, arg: Any) -> None:
        self.stack.append(Pairs())

    def _empty_set(self, arg: Any) -> None:
        self.stack.append(Bag())

    def _list(self, arg: Any) -> None:
        self.stack.append(self._to_mark())

    def _tuple(self, arg: Any) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _dict(self, arg: Any) -> None:
        pairs = Pairs()
        _add_pairs(pairs, self._to_mark())
        self.stack.append(pairs)

    def _frozenset(self, arg: Any) -> None:
        self.stack.append(Bag(self._to_mark(), frozen=True))

    def _tuple1(self, arg: Any) -> None:
        self._last(1)

    def _tuple2(self, arg: Any) -> None:
        self._last(2)

    def _tuple3(self, arg: Any) -> None:
        self._last(3)

    def _last(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        if len(items) != count:
            raise IndexError("an empty stack")
        self.stack[-count:] = [items]

    def _append(self, arg: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, arg: Any) -> None:
        self._extend(self._to_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        (target if isinstance(target, list) else target.items).extend(items)

    def _additems(self, arg: Any) -> None:
        self._extend(self._to_mark())

    def _setitem(self, arg: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, arg: Any) -> None:
        self._set(self._to_mark())

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        _add_pairs(target if isinstance(target, Pairs) else target.pairs, items)

    def _global(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self.stack.append(Name(module, name))

    def _stack_global(self, arg: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Name(str(module), str(name)))

    def _ext1(self, arg: Any) -> None:
        self.stack.append(Name("copyreg extension", str(arg)))

    _ext2 = _ext4 = _ext1

    def _reduce(self, arg: Any) -> None:
        args, what = self.stack.pop(), self.stack.pop()
        self.stack.append(_made(what, args))

    def _newobj(self, arg: Any) -> None:
        args, what = self.stack.pop(), self.stack.pop()
        self.stack.append(Made(what, args))

    def _newobj_ex(self, arg: Any) -> None:
        kwargs, args, what = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append(Made(what, (args, kwargs)))

    def _inst(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self.stack.append(Made(Name(module, name), tuple(self._to_mark())))

    def _obj(self, arg: Any) -> None:
        what, *args = self._to_mark()
        self.stack.append(Made(what, tuple(args)))

    def _build(self, arg: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, Made):
            raise TypeError("a state for something that is no object")
        target.add_state(state)
        if _is_core(target.what, "_reconstruct"):
            _restore(target, state)
        elif self.joblib and isinstance(target.what, Name) and target.what.name in WRAPPERS:
            self._embedded(target, state)

    def _embedded(self, target: Made, state: Any) -> None:
        """The array that joblib wrote into the stream right behind the description of its wrapper."""
        facts = dict(state.items)
        dtype, shape = facts["dtype"], tuple(facts["shape"])
        name, size = _dtype(dtype), _size(dtype)
        if size is None or _has_objects(dtype):
            target.items = [read_pickle(self.file, joblib=False)]
            return
        if facts.get("numpy_array_alignment_bytes") is not None:
            self.file.read(int.from_bytes(self.file.read(1), "little"))
        needed = size * math.prod(shape)
        data = self.file.read(needed)
        if len(data) != needed:
            raise Unreadable(f"cut off: an array of {needed:,} bytes has {len(data):,}")
        if name is None:
            target.items = [data]
            return
        _become(target, facts["subclass"], dtype, Array(name, shape, _values(dtype, size, data), facts["order"] == "F"))

    def _persid(self, arg: Any) -> None:
        self.stack.append(self._persist(arg))

    def _binpersid(self, arg: Any) -> None:
        self.stack.append(self._persist(self.stack.pop()))

    def _persist(self, key: Any) -> Any:
        return self.persistent(key) if self.persistent else Made(Name("", "persistent id"), key)

    def _next_buffer(self, arg: Any) -> None:
        self.stack.append(Name("", "buffer out of band"))

    def _readonly_buffer(self, arg: Any) -> None:
        pass


CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
PUSHES = frozenset(
    "INT LONG LONG1 LONG4 BININT BININT1 BININT2 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)


def _add_pairs(pairs: Pairs, items: list[Any]) -> None:
    pairs.items.extend(zip(items[::2], items[1::2], strict=True))


def _is_core(what: Any, name: str) -> bool:
    return isinstance(what, Name) and what.name == name and what.module.startswith(CORES)


def _made(what: Any, args: Any) -> Any:
    """The object of a call; sets, byte strings and NumPy's own constructors as what they make."""
    made = Made(what, args)
    if not isinstance(what, Name) or not isinstance(args, tuple):
        return made
    if what in SETS and len(args) == 1 and isinstance(args[0], (list, tuple)):
        return Bag(args[0], frozen=what.name == "frozenset")
    if what in EMPTIES and not args:
        return b""
    if what in BYTEARRAYS and len(args) == 1 and isinstance(args[0], bytes):
        return bytearray(args[0])
    if what == Name("_codecs", "encode") and len(args) == 2 and args[1] == "latin1" and isinstance(args[0], str):
        return args[0].encode("latin-1")  # how protocol 2 writes bytes
    if _is_core(what, "scalar") and len(args) == 2 and isinstance(args[1], (bytes, str)):
        name, size = _dtype(args[0]), _size(args[0])
        if name is not None and size is not None:
            data = args[1] if isinstance(args[1], bytes) else args[1].encode("latin-1")
            made.array, made.args = Array(name, (), _values(args[0], size, data)), (_fields(args[0]),)
    elif _is_core(what, "_frombuffer") and len(args) == 4 and isinstance(args[0], (bytes, bytearray)):
        name, size = _dtype(args[1]), _size(args[1])
        if name is not None and size is not None:
            array = Array(name, args[2], _values(args[1], size, args[0]), fortran=args[3] == "F")
            _become(made, NDARRAY, args[1], array)
    return made


SETS = tuple(Name(module, name) for module in ("builtins", "__builtin__") for name in ("set", "frozenset"))
EMPTIES = (Name("builtins", "bytes"), Name("__builtin__", "bytes"))
BYTEARRAYS = (Name("builtins", "bytearray"), Name("__builtin__", "bytearray"))


NDARRAY = Name("numpy", "ndarray")


def _restore(made: Made, state: Any) -> None:
    """Give an array the state that NumPy pickles: version, shape, type, whether Fortran, data. A subclass may keep
    more, or something else; what is not understood stays as it is."""
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(made.args, tuple) or not made.args:
        return
    _, shape, dtype, fortran, data = state
    if isinstance(data, str):
        data = data.encode("latin-1")
    name, size = _dtype(dtype), _size(dtype)
    if name is None or size is None or not isinstance(data, (bytes, bytearray)):
        return
    _become(made, made.args[0], dtype, Array(name, shape, _values(dtype, size, data), bool(fortran)))


def _become(made: Made, kind: Any, dtype: Any, array: Array) -> None:
    """An array of this class, whichever of NumPy's and joblib's ways it was written in."""
    made.what, made.args, made.state, made.array = NDARRAY, (kind, _fields(dtype)), None, array


def _dtype(made: Any) -> str | None:
    """A pickled NumPy type as text: `<f8`, `|V16` for a record. None for one with objects in it or with notes of its
    own, whose arrays are compared as they are written."""
    if not isinstance(made, Made) or made.what != Name("numpy", "dtype") or not isinstance(made.args[0], str):
        return None
    text = made.args[0]
    state = made.state if isinstance(made.state, tuple) else ()
    if _has_objects(made):
        return None
    order = state[1] if len(state) > 1 and state[1] in ("<", ">", "|", "=") else "|"
    if len(state) <= 8:
        return f"{order}{text}"
    notes, unit = state[8] if text[0] in "Mm" and isinstance(state[8], tuple) else (state[8], None)
    if notes is not None and not (isinstance(notes, Pairs) and not notes.items):
        return None
    return f"{order}{text}[{shown(unit)}]" if unit else f"{order}{text}"


def _has_objects(dtype: Made) -> bool:
    """Whether the values of a type refer to objects: they are pickled then, not written down as bytes."""
    flags = dtype.state[7] if isinstance(dtype.state, tuple) and len(dtype.state) > 7 else 0
    return str(dtype.args[0])[:1] == "O" or not isinstance(flags, int) or bool(flags & 1)


def _fields(dtype: Made) -> Made | None:
    """The type itself where its name does not say all: of a record, or of arrays within the array."""
    return dtype if dtype.args[0][0] == "V" else None


def _size(made: Any) -> int | None:
    if not isinstance(made, Made):
        return None
    state = made.state if isinstance(made.state, tuple) else ()
    if len(state) > 5 and isinstance(state[5], int) and state[5] > 0:
        return state[5]
    digits = str(made.args[0])[1:]
    return int(digits) if digits.isdigit() else None


def _values(dtype: Made, size: int, data: bytes | bytearray) -> bytes | bytearray:
    """The data of an array; what lies between the fields of its records is no value."""
    fields = dtype.state[4] if isinstance(dtype.state, tuple) and len(dtype.state) > 4 else None
    if not isinstance(fields, Pairs):
        return data
    return without_gaps(data, size, [(place[1], _size(place[0]) or size) for _, place in fields.items])
