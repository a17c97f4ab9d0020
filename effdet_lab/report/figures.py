"""Charts of a page as files of their own: SVG with every colour and font written into it, and PNG."""

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from PIL import ImageFont

from effdet_lab.report.charts import HEIGHT, LABEL_PIXELS, WIDTH
from effdet_lab.report.markup import Html
from effdet_lab.report.page import HERE

Rule = tuple[tuple[str, ...], dict[str, str]]  # the parts of a selector, outermost first, and what it says

FONTS = {
    "sans": "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif",
    "serif": "Charter, Georgia, 'Liberation Serif', 'DejaVu Serif', serif",
}
PAPER = "#ffffff"  # a figure is laid upon another's page
DRAWN = ("fill", "stroke", "opacity", "paint-order", "font-family", "font-size", "font-style", "font-weight")
DRAWN += ("stroke-width", "stroke-dasharray", "stroke-linejoin", "stroke-linecap")
MEDIA = re.compile(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
UNDRAWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # what XML may not hold
MARGIN, TITLE, LINE, KEY, GAP = 14, 22, 17, 16, 14  # pixels
ZOOM = 3.0  # of a PNG
EXTRA = "PNG files need the extra figures: pip install 'effdet-lab[figures]'."
# What the one font that travels with Pillow lacks, for machines that have none of their own.
SPELLED_OUT = {"\N{GREEK SMALL LETTER PHI}": "phi", "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-"}
SPELLED_OUT |= {"\N{PLUS-MINUS SIGN}": "+-", "\N{MULTIPLICATION SIGN}": "x", "\N{MIDDLE DOT}": "."}


def write_figures(folder: Path, figures: Mapping[str, Html]) -> str:
    """NAME.svg and NAME.png of each figure of a page; a sentence where no PNG could be made, else nothing."""
    drawn = {name: svg for name, figure in figures.items() if (svg := standalone(figure))}
    if not drawn:
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    for name, svg in drawn.items():
        (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    try:
        for name, svg in drawn.items():
            (folder / f"{name}.png").write_bytes(png(svg))
    except ImportError:
        return EXTRA
    return ""


def standalone(figure: Html) -> str:
    """A figure of a page as one SVG that needs no style sheet: title, legend and plot. Empty where nothing is drawn."""
    parsed = ElementTree.fromstring(UNDRAWABLE.sub("", figure))
    plot = parsed.find("svg")
    if plot is None:
        return ""
    title = parsed.findtext("h3", "")
    keys = list(_rows(parsed.findall("ul/li")))
    top = MARGIN + TITLE + LINE * len(keys)
    width, height = WIDTH + 2 * MARGIN, top + HEIGHT + MARGIN
    whole = Element("svg", xmlns="http://www.w3.org/2000/svg", width=str(width), height=str(height))
    whole.set("viewBox", f"0 0 {width} {height}")
    SubElement(whole, "title").text = title
    caption = parsed.findtext("figcaption", "")
    if caption:
        SubElement(whole, "desc").text = caption
    SubElement(whole, "rect", width="100%", height="100%", fill=PAPER)
    heading = SubElement(whole, "text", {"x": str(MARGIN), "y": str(MARGIN + 12), "class": "heading"})
    heading.text = title
    for number, row in enumerate(keys):
        for left, item in row:
            whole.append(_key(item, MARGIN + left, MARGIN + TITLE + LINE * number + 8))
    placed = SubElement(whole, "g", transform=f"translate({MARGIN} {top})")
    placed.extend(list(plot))
    colours, rules = _style()
    _paint(whole, [], colours, rules)
    return ElementTree.tostring(whole, encoding="unicode") + "\n"


def png(svg: str) -> bytes:
    """The picture in pixels; with Pillow's own font and plain letters where this machine has no fonts.

    Raises: ImportError without the extra `figures`.
    """
    import resvg_py

    if _has_fonts():
        return resvg_py.svg_to_bytes(svg_string=svg, zoom=ZOOM)
    return png_without_fonts(svg)


def png_without_fonts(svg: str) -> bytes:
    """As on a machine that has none.

    Raises: ImportError without the extra `figures`.
    """
    import resvg_py

    plain = svg.translate(str.maketrans(SPELLED_OUT)).encode("ascii", "xmlcharrefreplace").decode("ascii")
    font = ImageFont.load_default(12)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "font.ttf"
        file.write_bytes(getattr(font, "font_bytes", b""))
        family = font.getname()[0] if isinstance(font, ImageFont.FreeTypeFont) else None
        return resvg_py.svg_to_bytes(
            svg_string=plain,
            zoom=ZOOM,
            skip_system_fonts=True,
            font_files=[str(file)],
            sans_serif_family=family,
            serif_family=family,
        )


@cache
def _has_fonts() -> bool:
    """Whether a letter leaves a trace."""
    import resvg_py

    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    letter = '<text y="15" font-family="sans-serif">x</text>'
    return resvg_py.svg_to_bytes(svg_string=svg.format(letter)) != resvg_py.svg_to_bytes(svg_string=svg.format(""))


def _rows(items: Sequence[Element]) -> Iterator[list[tuple[float, Element]]]:
    """The legend's entries with their places, as many in a row as there is room for."""
    row, left = [], 0.0
    for item in items:
        width = KEY + 6 + len("".join(item.itertext())) * LABEL_PIXELS
        if row and left + width > WIDTH:
            yield row
            row, left = [], 0.0
        row.append((left, item))
        left += width + GAP
    if row:
        yield row


def _key(item: Element, left: float, middle: float) -> Element:
    """A legend's entry: its mark as the chart draws it, and its name."""
    mark = item.find("i")
    classes = "" if mark is None else mark.get("class", "")
    style = next((style for style in ("dots", "stairs", "band", "under") if style in classes.split()), "line")
    colour = " ".join(set(classes.split()) - {style}) if style not in ("band", "under") else "under"
    entry = Element("g", {"class": colour})
    if style == "dots":
        SubElement(entry, "circle", {"class": "dot", "cx": f"{left + KEY / 2:.1f}", "cy": f"{middle:.1f}", "r": "4"})
    else:
        drawn_as = {"stairs": "front", "band": "forecast"}.get(style, "line")
        SubElement(entry, "path", {"class": drawn_as, "d": f"M{left:.1f} {middle:.1f}h{KEY}"})
    text = SubElement(entry, "text", {"x": f"{left + KEY + 6:.1f}", "y": f"{middle + 4:.1f}"})
    text.text = "".join(item.itertext())
    return entry


@cache
def _style() -> tuple[dict[str, str], list[Rule]]:
    """The page's style sheet in daylight: its colours, and its rules from the weakest to the strongest."""
    text = MEDIA.sub("", (HERE / "page.css").read_text(encoding="utf-8"))
    colours: dict[str, str] = {}
    rules: list[Rule] = [(("svg", "text.heading"), {"font": "600 14px var(--sans)", "fill": "var(--ink)"})]
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
        said = {name.strip(): value.strip() for name, _, value in (each.partition(":") for each in body.split(";"))}
        if selectors.strip() == ":root":
            colours |= {name: value for name, value in said.items() if name.startswith("--")}
        rules += [
            (tuple(selector.split()), said) for selector in selectors.split(",") if not set(selector) & set(":#[*>+")
        ]
    colours |= {"--paper": PAPER} | {f"--{name}": fonts for name, fonts in FONTS.items()}
    rules.sort(key=lambda rule: sum(part.count(".") for part in rule[0]) * 100 + len(rule[0]))
    return colours, rules


def _paint(node: Element, above: list[Element], colours: dict[str, str], rules: Sequence[Rule]) -> None:
    """Writes what the rules say into attributes, and takes the classes away."""
    said: dict[str, str] = {}
    for selector, body in rules:
        if _matches(selector, node, above):
            said |= body
    colours = colours | {name: _resolved(value, colours) for name, value in said.items() if name.startswith("--")}
    for name, value in _attributes(said):
        if name in DRAWN:
            node.set(name, _resolved(value, colours))
    if node.get("fill") == "transparent":
        node.set("fill", "none")
        node.set("pointer-events", "all")  # its title is still found by the mouse
    for child in node:
        _paint(child, [*above, node], colours, rules)
    if not above:
        for each in node.iter():
            each.attrib.pop("class", None)


def _attributes(said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """`font` is spelled out, since only style sheets know it."""
    for name, value in said.items():
        found = re.fullmatch(r"(\d+ )?([\d.]+px)(?:/[\d.]+)? (.+)", value) if name == "font" else None
        if found:
            yield "font-size", found[2]
            yield "font-family", found[3]
            if found[1]:
                yield "font-weight", found[1].strip()
        else:
            yield name, value


def _resolved(value: str, colours: Mapping[str, str]) -> str:
    return re.sub(r"var\((--[\w-]+)\)", lambda found: colours.get(found[1], "none"), value)


def _matches(selector: Sequence[str], node: Element, above: Sequence[Element]) -> bool:
    """Whether the last part fits the element, and those before it fit elements around it, in order."""
    *outer, last = selector
    if not _fits(last, node):
        return False
    around = iter(above)
    return all(any(_fits(part, each) for each in around) for part in outer)


def _fits(part: str, node: Element) -> bool:
    name, *classes = part.split(".")
    return name in ("", node.tag) and set(classes) <= set(node.get("class", "").split())
