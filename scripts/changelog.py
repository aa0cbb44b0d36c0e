"""Collect the files of changes/ in docs/changes.md.

scripts/changelog.py                          write the section "Not released yet" anew
scripts/changelog.py --check                  exit 1 when that would change the page
scripts/changelog.py --release VERSION DATE   give the section a version, and remove the files
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "changes"
PAGE = ROOT / "docs" / "changes.md"
KINDS = {
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "removed": "Removed",
    "format": "Stored formats",
}
TITLE = "# Changes\n\nThe newest first. Each entry was written by who made the change.\n"
OPEN = "## Not released yet"
NAME = re.compile(rf"[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(KINDS)})\.md")


def fragments() -> list[Path]:
    return sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


def faults(path: Path) -> list[str]:
    """What is wrong with one file, in sentences; empty when nothing is."""
    text = path.read_text("utf-8")
    found = []
    if not NAME.fullmatch(path.name):
        found.append(f"{path.name}: the name is not WHAT.KIND.md with KIND one of {', '.join(KINDS)}")
    if not re.fullmatch(r"[`\"*]*[A-Z`].*[.`)]\n", text, re.S) or len(text) > 1000 or "\n\n" in text or "\n#" in text:
        found.append(f"{path.name}: one paragraph, from a capital letter to a full stop and a line end")
    return found


def section(heading: str) -> str:
    """The text of all files, by kind."""
    lines = [heading, ""]
    for kind, title in KINDS.items():
        texts = [path.read_text("utf-8").strip() for path in fragments() if path.name.endswith(f".{kind}.md")]
        if texts:
            lines += [f"### {title}", ""]
            lines += ["- " + text.replace("\n", "\n  ") for text in texts]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def released() -> str:
    """The sections of earlier versions, as they stand on the page."""
    text = PAGE.read_text("utf-8") if PAGE.exists() else ""
    return "".join(
        f"\n{part.rstrip()}\n" for part in re.findall(r"^## (?!Not released).*?(?=^## |\Z)", text, re.S | re.M)
    )


def page(heading: str = OPEN) -> str:
    body = f"\n{section(heading)}" if fragments() else ""
    return TITLE + body + released()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--release", nargs=2, metavar=("VERSION", "DATE"))
    options = parser.parse_args()
    wrong = [fault for path in fragments() for fault in faults(path)]
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    if options.check:
        return int(not PAGE.exists() or PAGE.read_text("utf-8") != page())
    PAGE.write_text(page("## {} ({})".format(*options.release) if options.release else OPEN), "utf-8")
    if options.release:
        for path in fragments():
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
