"""The building blocks of an HTML page that stands alone: elements that escape what they hold, tables, and the style."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from data_utils.strict import printable

VOID = frozenset({"meta", "wbr"})

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1d21; --soft: #575c66; --rule: #dcdfe4; --shade: #f4f5f7; --link: #0b57b0;
  --grid: #e6e6e6; --blue: #0072b2; --violet: #5d3a9b; --brown: #8b5a00;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #15171b; --ink: #e4e6ea; --soft: #a3a9b4; --rule: #363b44; --shade: #1e2127; --link: #8ab8ff;
    --grid: #30343c; --blue: #4aa8e0; --violet: #b59be0; --brown: #d9a441;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 70rem; padding: 1.5rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  overflow-wrap: break-word;
}
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.75rem 0 0.75rem; padding-top: 0.75rem;
  border-top: 1px solid var(--rule); }
p, ul, dl { margin: 0.75rem 0; max-width: 46rem; }
ul { padding-left: 1.25rem; }
li { margin: 0.35rem 0; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: 0 1.25rem; padding: 0; list-style: none; max-width: none; }
dt { font-weight: 600; }
dd { margin: 0 0 0.5rem 1.25rem; }
code, pre { font: 0.9em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { background: var(--shade); padding: 0.75rem 1rem; border-radius: 6px; overflow-x: auto; }
summary { cursor: pointer; font-weight: 600; padding: 0.35rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; background: /* an edge is shaded where there is more beyond it */
  linear-gradient(to right, var(--paper) 40%, transparent) 0 0 / 3rem 100% no-repeat local,
  linear-gradient(to left, var(--paper) 40%, transparent) 100% 0 / 3rem 100% no-repeat local,
  linear-gradient(to right, var(--rule), transparent) 0 0 / 1rem 100% no-repeat scroll,
  linear-gradient(to left, var(--rule), transparent) 100% 0 / 1rem 100% no-repeat scroll; }
.scroll:focus-visible, pre:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; min-width: min(100%, 30rem); }
caption { text-align: left; font-weight: 600; padding-bottom: 0.4rem; }
caption span { display: block; position: sticky; left: 0; width: fit-content; max-width: calc(100vw - 2rem); }
th, td { padding: 0.35rem 0.55rem; text-align: left; vertical-align: top; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
thead th { font-weight: 600; border-bottom: 2px solid var(--rule); vertical-align: bottom; }
tbody th { position: sticky; left: 0; background: var(--paper); font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.message { white-space: pre-wrap; overflow-wrap: anywhere; min-width: 14rem; max-width: 26rem; }
.notes { color: var(--soft); font-size: 0.9375rem; }
figure { margin: 1.5rem 0 2rem; }
figcaption { max-width: 46rem; margin-top: 0.5rem; color: var(--soft); font-size: 0.9375rem; }
figure svg { display: block; width: 100%; height: auto; fill: currentColor; stroke-linejoin: round;
  stroke-linecap: butt; }
figure .narrow { max-width: 30rem; }
figure .wide { min-width: 36rem; }
@media (max-width: 40rem) {
  th, td { padding: 0.35rem 0.5rem; }
  tbody th { white-space: normal; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav { display: none; }
  h2, caption { break-after: avoid; }
  figure, tr { break-inside: avoid; }
  .scroll, pre { overflow: visible; }
  pre { white-space: pre-wrap; }
  figure .wide { min-width: 0; }
  th, td { padding: 0.2rem 0.4rem; white-space: normal; }
}
"""


class Html(str):
    """Markup. All other text is escaped where `element` puts it into some."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Text as markup; what HTML cannot hold becomes U+FFFD."""
    return text if isinstance(text, Html) else Html(html.escape(printable(text)))


def element(name: str, /, *parts: str, **attributes: str) -> Html:
    """An element. Attributes' names are Python's: `class_`, `aria_label`."""
    pairs = ((key.rstrip("_").replace("_", "-"), escaped(value)) for key, value in attributes.items())
    opening = "".join([name, *(f' {key}="{value}"' for key, value in pairs)])
    return Html(f"<{opening}>" if name in VOID else f"<{opening}>{joined(parts)}</{name}>")


def joined(parts: Iterable[str], between: str = "") -> Html:
    """Parts one after the other."""
    return Html(escaped(between).join(map(escaped, parts)))


def bullets(items: Iterable[str], **attributes: str) -> Html:
    """A list."""
    return element("ul", *(element("li", item) for item in items), **attributes)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> Html:
    """A table in a box of its own, which scrolls where the page is narrow.

    Args:
        caption: what it holds.
        header: a column each.
        rows: cells; the first names the row.
        words: how many columns, from the left, are words and not numbers.
    """

    def cell(i: int, text: str) -> Html:
        if not i:
            return element("th", Html(escaped(text).replace("@", "@<wbr>")), scope="row")
        return element("td", text) if i < words else element("td", text, class_="number")

    heads = (
        element("th", head, scope="col", **({"class_": "number"} if i >= words else {}))
        for i, head in enumerate(header)
    )
    lines = (element("tr", *(cell(i, text) for i, text in enumerate(row))) for row in rows)
    head, body = element("thead", element("tr", *heads)), element("tbody", joined(lines, "\n"))
    whole = element("table", element("caption", element("span", caption)), head, body)
    return element("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def section(title: str, *parts: str) -> Html:
    """A part of the page, which `document` lists at the top."""
    return element("section", element("h2", title), joined(parts, "\n"), id=anchor(title), aria_label=title)


def anchor(title: str) -> str:
    """A section's id."""
    return re.sub(r"\W+", "-", title.lower())


def document(title: str, lead: Sequence[str], sections: Sequence[tuple[str, Sequence[str]]]) -> Html:
    """The whole page: what it is about, then sections by title."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    contents = (element("a", name, href=f"#{anchor(name)}") for name, _ in sections)
    parts = [section(name, *parts) for name, parts in sections]
    nav = element("nav", bullets(contents), aria_label="Contents")
    main = element("main", element("h1", title), *lead, nav, joined(parts, "\n"))
    return Html(f"<!DOCTYPE html>\n{element('html', head, element('body', main), lang='en')}\n")
