"""What a comparison gathers on its way: differences, and what was set aside by which rule."""

from __future__ import annotations

from bis.formats import Context
from bis.nouns.verdict import Comparison, Level, Masked

KEPT = 20
"""Differences that are told one by one; the rest is counted."""
WIDTH = 120


class Tally:
    """Collects; `settle` makes the Comparison. Differences and masks are counted in full and kept in part."""

    def __init__(self, context: Context, limit: int = KEPT) -> None:
        self.context = context
        self.limit = limit
        self.count = 0
        self.lines: list[str] = []
        self.masks: dict[str, tuple[int, str]] = {}
        self.causes: dict[str, int] = {}
        self.within = 0
        """Numbers that differ within the declared tolerance."""
        self.paired_ids = True
        """Whether each id must have the same partner everywhere; False where things are compared in any order."""
        self.ids: dict[str, str] = {}
        self.back: dict[str, str] = {}

    def differ(self, where: str, what: str, cause: str = "") -> None:
        """Note a difference. `cause` when the difference itself shows what made it."""
        self.count += 1
        self.causes[cause] = self.causes.get(cause, 0) + 1
        if len(self.lines) < self.limit:
            self.lines.append(f"{where}: {what}" if where else what)

    def reordered(self, cause: str, what: str) -> None:
        """All that differs is an order: told in the first place, and the one cause of everything noted so far."""
        self.causes = {cause: self.count}
        self.lines.insert(0, what)
        del self.lines[self.limit :]

    def set_aside(self, rule: str, before: str = "", after: str = "", count: int = 1) -> None:
        """Note a difference that `rule` allows."""
        seen, example = self.masks.get(rule, (0, ""))
        if not example and (before or after):
            example = f"{shown(before, 60)} -> {shown(after, 60)}"
        self.masks[rule] = (seen + count, example)

    def pairs(self, before: str, after: str) -> bool:
        """Whether two ids may stand for each other: each id of one file has one partner in the other, everywhere."""
        if not self.paired_ids:
            return True
        return self.ids.setdefault(before, after) == after and self.back.setdefault(after, before) == before

    def take(self, inner: Comparison, where: str) -> None:
        """Add what the comparison of a member found."""
        for mask in inner.masked:
            before, _, after = mask.example.partition(" -> ")
            self.set_aside(mask.rule, before, after, mask.count)
        if inner.same:
            self.within += inner.level == "tolerance"
            return
        causes = inner.causes or ("",)
        self.differ(where, inner.why, causes[0])
        for cause in causes[1:]:
            self.causes[cause] = self.causes.get(cause, 0) + 1

    def masked(self) -> tuple[Masked, ...]:
        return tuple(Masked(rule=rule, count=count, example=text) for rule, (count, text) in sorted(self.masks.items()))

    def settle(self, format: str, ground: str, unit: str = "difference") -> Comparison:
        """The Comparison. `ground` is on what the two are the same. Causes are named only if they explain every
        difference: a cause beside an unexplained difference would excuse it."""
        masked = self.masked()
        if not self.count:
            level: Level = "tolerance" if self.within else "meaning"
            if self.within:
                ground = f"{ground}; {self.within} within the tolerance of {self.context.tolerance:g}"
            return Comparison(same=True, level=level, format=format, why=ground, masked=masked)
        more = f" (and {plural(self.count - 1, unit)} more)" if self.count > 1 else ""
        causes = tuple(sorted(self.causes)) if "" not in self.causes else ()
        detail = list(self.lines)
        if self.count > len(detail):
            detail.append(f"… {plural(self.count - len(detail), unit)} more")
        return Comparison(
            same=False,
            level="none",
            format=format,
            why=self.lines[0] + more,
            detail="\n".join(detail),
            masked=masked,
            causes=causes,
        )


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def shown(value: object, width: int = WIDTH) -> str:
    """A value for a line of a report: printable, on one line, cut in the middle when long."""
    if isinstance(value, int) and value.bit_length() > 1024:
        text = f"an integer of {value.bit_length():,} bits"
    elif isinstance(value, (bytes, bytearray)):
        text = f"{plural(len(value), 'byte')} {bytes(value[:16]).hex()}"
    else:
        text = str(value)
    if len(text) > 4 * width:
        text = text[: 2 * width] + "…" + text[-2 * width :]
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    if len(text) <= width:
        return text
    return f"{text[: width // 2 - 1]}…{text[len(text) - width // 2 :]}"


def shown_pair(before: str, after: str, width: int = WIDTH) -> str:
    """Two texts, cut so that the place where they part is in sight."""
    start = 0
    limit = min(len(before), len(after))
    while start < limit and before[start] == after[start]:
        start += 1
    from_ = max(0, start - width // 2) if max(len(before), len(after)) > width else 0
    lead = "…" if from_ else ""
    until = from_ + width
    return " -> ".join(_quoted(lead, text[from_:until], len(text) > until) for text in (before, after))


def _quoted(lead: str, text: str, cut: bool) -> str:
    return repr(lead + text + ("…" if cut else "")) if text or not lead else "(ends)"
