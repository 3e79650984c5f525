"""A study's figures inside a page: SVG without anything that points outside, in the page's own colours."""

from __future__ import annotations

import re
import statistics
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from studies.figures import FIGURES, write_figures
from studies.methods import METHODS
from studies.pages.page import Html, bullets, element
from studies.plots.style import ONE_COLUMN
from studies.study import Study

POINTS_AN_INCH = 72
COLOURS = {  # of `plots.style`, which draws on white, by what they become in a page that may be dark
    "#000000": "currentColor",
    "#ffffff": "none",
    "#e6e6e6": "var(--grid)",
    "#595959": "var(--soft)",
    "#0072b2": "var(--blue)",
    "#5d3a9b": "var(--violet)",
    "#8b5a00": "var(--brown)",
}
MOST_PALE = 0.3  # the least share of a method's colour in what is mixed with white
COLOUR = re.compile("#[0-9a-f]{6}")
REFERENCE = re.compile(r"#([\w.-]+)")


def figures(study: Study) -> list[Html]:
    """All figures that a study has data for, then what those that are missing need.

    Raises:
        InputError: damaged files in the study, or matplotlib is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        written, lines = write_figures(study, list(FIGURES), Path(folder), ["svg"])
        parts = [_figure(path) for path in written if path.suffix == ".svg"]
    if lines:
        parts += [element("p", "Not drawn, or not with all runs:"), bullets(lines, class_="notes")]
    return parts


def _figure(path: Path) -> Html:
    """A drawing with its caption, which stands for it where it is not seen."""
    caption = path.with_suffix(".txt").read_text(encoding="utf-8").strip()
    name = f"caption-{path.stem}"
    drawing = inline_svg(path.read_text(encoding="utf-8"), path.stem, name)
    box = element("div", drawing, class_="scroll", role="group", aria_labelledby=name, tabindex="0")
    return element("figure", box, element("figcaption", caption, id=name))


def inline_svg(text: str, prefix: str, labelled_by: str) -> Html:
    """A file of matplotlib's as an element of a page.

    Args:
        text: the file.
        prefix: of its ids, which must differ from those of all other figures of the page.
        labelled_by: id of the element that says what is to be seen.
    """
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in [child for child in parent if _local(child.tag) in ("metadata", "style")]:
            parent.remove(child)  # the first names the caption once more, the second would hold for the whole page
    used = {name for node in root.iter() for name in _references(node)}
    for node in root.iter():
        node.tag = _local(node.tag)
        node.attrib = {_local(key): _attribute(_local(key), value, prefix) for key, value in node.attrib.items()}
        if "id" in node.attrib and node.attrib["id"].removeprefix(f"{prefix}-") not in used:
            del node.attrib["id"]
        node.tail = None if not (node.tail or "").strip() else node.tail
    width = float(root.attrib.pop("width").removesuffix("pt"))
    del root.attrib["height"]  # the view box alone says in what proportion it scales
    size = "wide" if width > POINTS_AN_INCH * ONE_COLUMN + 1 else "narrow"
    root.attrib |= {"role": "img", "aria-labelledby": labelled_by, "class": size}
    return Html(ElementTree.tostring(root, encoding="unicode"))


def _local(name: str) -> str:
    """A name without its namespace, which HTML knows by itself."""
    return name.rsplit("}", 1)[-1]


def _references(node: ElementTree.Element) -> Iterator[str]:
    for key, value in node.attrib.items():
        if _local(key) == "href" or "url(#" in value:
            yield from REFERENCE.findall(value)


def _attribute(name: str, value: str, prefix: str) -> str:
    if name == "id":
        return f"{prefix}-{value}"
    if name == "href" or value.startswith("url(#"):
        return REFERENCE.sub(rf"#{prefix}-\1", value)
    if name == "style":
        return COLOUR.sub(lambda match: page_colour(match[0]), value)
    return value


def page_colour(drawn: str) -> str:
    """What a colour of a drawing is on the page: what was mixed with white is mixed with the page's paper."""
    if drawn in COLOURS:
        return COLOURS[drawn]
    mixed = [int(drawn[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    for colour in (method.look.colour for method in METHODS.values()):
        shares = [(1 - mix) / (1 - part) for mix, part in zip(mixed, colour, strict=True)]
        if max(shares) - min(shares) < 0.02 and MOST_PALE < min(shares) < 0.99:
            base = "#" + "".join(f"{round(255 * part):02x}" for part in colour)
            share = 100 * statistics.fmean(shares)
            return f"color-mix(in srgb, {COLOURS.get(base, base)} {share:.0f}%, var(--paper))"
    return drawn
