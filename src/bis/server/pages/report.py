"""Runs as one file that opens where nothing else is: no server, no script, nothing that is asked from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

from markupsafe import Markup

from bis import __version__
from bis.acts.explain import difference
from bis.acts.report import Report
from bis.server.pages.rendering import rendered
from bis.server.pages.usage import usage_of
from bis.steps.home import Home

FOLDER: Final = Path(__file__).parent / "static"
SHEETS: Final = ("bis.css", "run.css", "compare.css", "report.css")
POLICY: Final = "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'"
"""What the file itself tells a browser that it may do."""


def document(report: Report, home: Home) -> str:
    """The same for the same facts, whenever and wherever it is made."""
    runs = [one.known.run for one in report.runs]
    style = "\n".join((FOLDER / name).read_text("utf-8") for name in SHEETS)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    icon = base64.b64encode((FOLDER / "mark.svg").read_bytes()).decode()
    return rendered(
        "report.html",
        page=report,
        pair=difference(runs[0], runs[1], home) if len(runs) == 2 else None,
        usage={run.id: usage_of(run, home.store) for run in runs},
        style=Markup(style),
        policy=POLICY.format(style=digest),
        icon=f"data:image/svg+xml;base64,{icon}",
        version=__version__,
    )
