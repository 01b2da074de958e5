"""Templates, their filters, and the headers of every page."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from reprise.console.gate import ANONYMOUS
from reprise.contracts import humane, words

HEADERS = {
    # Nothing is fetched from anywhere else, and nothing inline runs.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Pages:
    """connected: whether events arrive. trace_url: with `{trace_id}` in it, or empty. operable: whether one can ask for things.
    inspects: whether what a checkpoint holds can be shown.
    """

    def __init__(self, connected: Callable[[], bool], trace_url: str, *, operable: bool = False, inspects: bool = False) -> None:
        self._connected = connected
        self._templates = Environment(
            loader=PackageLoader("reprise.console.web"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters |= {
            "size": humane.size, "seconds": humane.seconds, "us": humane.microseconds, "every": humane.every,
            "absolute": humane.absolute, "health": words.health, "time": _time, "clock": _clock, "exact": _exact,
            "short": humane.short,
            "pretty": lambda data: json.dumps(data, indent=1, ensure_ascii=False),
        }  # fmt: skip
        self._templates.globals |= {
            "words": words, "plural": humane.plural, "together": humane.together, "version": static_version(),
            "trace_url": lambda trace_id: trace_url.replace("{trace_id}", trace_id) if trace_id else "", "query": query,
            "operable": operable, "inspects": inspects,
        }  # fmt: skip

    def render(self, template: str, request: Request, status: int = 200, **values: Any) -> HTMLResponse:
        """now, nav, connected, who (empty: nobody signed in) and here are every template's."""
        who = getattr(request.state, "who", ANONYMOUS)
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        known = {"now": datetime.now(UTC), "nav": "", "connected": self._connected(), "who": who.user, "here": here}
        return HTMLResponse(self._templates.get_template(template).render(known | values), status, headers=HEADERS)


def query(**values: Any) -> str:
    """A query string of what is not empty."""
    return urlencode({name: value for name, value in values.items() if value not in (None, "")})


def static_version() -> str:
    """Part of the address of each static file: a new version is fetched at once, an old one is never asked for again."""
    digest = hashlib.blake2b(digest_size=6)
    for file in sorted(resources.files("reprise.console.web").joinpath("static").iterdir(), key=lambda f: f.name):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@pass_context
def _time(context: Context, moment: datetime | None) -> Markup:
    """Relative, and absolute on pointing at it."""
    if moment is None:
        return Markup('<span class="none">–</span>')
    return _element(moment, humane.ago(moment, context["now"]), relative=True)


@pass_context
def _clock(context: Context, moment: datetime | None) -> Markup:
    """The time of day, and all of it on pointing at it."""
    return Markup('<span class="none">–</span>') if moment is None else _element(moment, humane.clock(moment, context["now"]))


def _exact(moment: datetime) -> Markup:
    """The time of day to the millisecond: for what happened within a second."""
    return _element(moment, humane.absolute(moment).split()[1])


def _element(moment: datetime, text: str, *, relative: bool = False) -> Markup:
    mark = Markup(" data-ago") if relative else Markup("")
    return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
        moment.astimezone(UTC).isoformat(timespec="milliseconds"), humane.absolute(moment), mark, text
    )


def static_response(name: str) -> Response:
    """One of the files beside the templates. Raises KeyError for any other."""
    kinds = {"console.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}
    content = resources.files("reprise.console.web").joinpath("static", name) if name in kinds else None
    if content is None:
        raise KeyError(name)
    kept = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
    return Response(content.read_bytes(), media_type=kinds[name], headers=kept)
