"""Page: writes one file at the end of a command: what came of it, and when it did what.

FILE.json has the object that `--json` prints, with the timeline; FILE.html is a page of the same
that needs nothing else. Its charts are drawn by Bokeh's JavaScript, which the wheel of Bokeh has:
1.4 MB as of 3.9, and its licence (BSD 3-Clause) at the beginning of each file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipecopy.events import CommandEnded, Event
from pipecopy.observers.atomic import AtomicFile
from pipecopy.observers.page.texts import view
from pipecopy.observers.page.timeline import Timeline
from pipecopy.observers.page.timeline_texts import KINDS, Clock
from pipecopy.version import installed_version

if TYPE_CHECKING:
    from markupsafe import Markup

_CODE, _OPTION = re.compile("`([^`]+)`"), re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_LIBRARIES = ("bokeh.min.js", "bokeh-api.min.js")


class Page:
    """An observer that writes the page, or the JSON, once the command knows how it ends.

    Raises ConfigError if the file can't be written, and ModuleNotFoundError if Bokeh is not
    installed, which a page needs.
    """

    def __init__(self, path: str) -> None:
        """Take the path, which ends in .html or .json."""
        self._is_page = path.endswith(".html")
        if self._is_page and find_spec("bokeh") is None:
            raise ModuleNotFoundError("bokeh")
        self._file = AtomicFile(path, "report")
        self._file.prepare()
        self._timeline = Timeline()

    def __call__(self, event: Event) -> None:
        """Take note of the event; raises HostError if the file can't be written."""
        self._timeline.take(event)
        if isinstance(event, CommandEnded):
            timeline = self._timeline.to_dict()
            text = _page(event, timeline) if self._is_page else _json(event, timeline)
            self._file.write(text.encode())


def _json(end: CommandEnded, timeline: Mapping[str, Any]) -> str:
    return f"{json.dumps({**end.result, 'timeline': timeline})}\n"


def _page(end: CommandEnded, timeline: Mapping[str, Any]) -> str:
    from jinja2 import Environment  # noqa: PLC0415 - for a page alone

    here = files("pipecopy.observers.page")  # in a zipapp too
    template, style, script = (
        (here / name).read_text(encoding="utf-8")
        for name in ("template.html", "style.css", "script.js")
    )
    environment = Environment(autoescape=True)
    environment.filters["with_code"] = _with_code
    charts = _charts(end, timeline) if timeline["calls"] or timeline["incidents"] else None
    return environment.from_string(template).render(
        view=view(end, timeline),
        run_id=end.result.get("run_id"),
        exit_code=end.exit_code,
        timeline=timeline,
        charts=charts,
        style=style,
        script=script,
        libraries=list(_libraries()) if charts else [],
        version=installed_version() or "that is not installed",
    )


def _with_code(text: str) -> Markup:
    """Return the text with what is in backticks, such as a command, as code; options stay whole."""
    from markupsafe import Markup, escape  # noqa: PLC0415 - for a page alone

    whole = _OPTION.sub(r'<span class="nowrap">\g<0></span>', str(escape(text)))
    return Markup(_CODE.sub(r"<code>\1</code>", whole))  # noqa: S704 - it is escaped


def _libraries() -> Iterator[str]:
    # not by bokeh.resources, whose import takes a quarter of a second
    spec = find_spec("bokeh")
    (folder,) = [] if spec is None else spec.submodule_search_locations or []
    for name in _LIBRARIES:
        yield (Path(folder) / "server" / "static" / "js" / name).read_text(encoding="utf-8")


def _charts(end: CommandEnded, timeline: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page's script draws."""
    drawn = ("began", "utc_offset", "seconds", "throughput")
    if (shards := timeline["shards"]) is not None:  # they are drawn, and not the calls
        shards = {"hosts": shards["hosts"], "bars": _table(shards["bars"])}
        timeline = {**timeline, "calls": []}
    return {
        **{name: timeline[name] for name in drawn},
        "shards": shards,
        **{name: _table(timeline[name]) for name in ("calls", "incidents", "pauses")},
        "kinds": KINDS,
        "unit": "rows compared/s" if end.result["command"] == "verify" else "rows/s",
        "zone": Clock.of(timeline).zone,
    }


def _table(those: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return them with each name once, and without the details, which only the page's tables say.

    The page of a long run would be half as large again.
    """
    names = [name for name in those[0] if name != "detail"] if those else []
    return {"names": names, "rows": [[one[name] for name in names] for one in those]}
