"""A page as a strict reader sees it."""

from html.parser import HTMLParser

VOID = {"br", "hr", "img", "link", "meta"}
REFERENCES = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}


class ParsedPage(HTMLParser):
    """Balanced tags, or an AssertionError; what was found on the way."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.references: list[str] = []
        self.words: list[tuple[str, str]] = []  # innermost tag, text
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.references += [value or "" for name, value in attrs if name in REFERENCES]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another"

    def handle_data(self, data):
        if data.strip():
            self.words.append((self.open[-1] if self.open else "", data))

    def texts(self, tag: str) -> list[str]:
        """What stands directly in elements of this kind."""
        return [text for inner, text in self.words if inner == tag]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def needs_nothing_else(text: str) -> bool:
    """No reference leaves the file, but for links to reports below it."""
    page = ParsedPage(text)
    leaves = [ref for ref in page.references if not ref.startswith("data:") and not ref.endswith("/report.html")]
    styles = "".join(page.texts("style"))
    return not leaves and "url(" not in styles and "@import" not in styles and "://" not in text.lower()
