"""Reads a report back the way a browser would."""

from __future__ import annotations

from html.parser import HTMLParser

INLINE = {"span", "b", "strong", "a", "code", "h1"}
VOID = {"meta", "br", "hr", "img", "input", "link", "base", "source", "embed"}


class Element:
    def __init__(self, tag: str, attributes: dict[str, str | None], parent: Element | None) -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children: list[Element | str] = []

    @property
    def classes(self) -> list[str]:
        return (self.attributes.get("class") or "").split()

    @property
    def text(self) -> str:
        return " ".join(self._words().split())

    def _words(self) -> str:
        words = "".join(child if isinstance(child, str) else child._words() for child in self.children)
        return words if self.tag in INLINE else f" {words} "

    def all(self, tag: str = "", name: str = "") -> list[Element]:
        """Every element below with this tag and this class."""
        found: list[Element] = []
        for child in self.children:
            if isinstance(child, Element):
                if (not tag or child.tag == tag) and (not name or name in child.classes):
                    found.append(child)
                found += child.all(tag, name)
        return found

    def one(self, tag: str = "", name: str = "") -> Element:
        (found,) = self.all(tag, name)
        return found

    def by_id(self, identifier: str) -> Element:
        (found,) = [element for element in self.all() if element.attributes.get("id") == identifier]
        return found


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self._open = Element("", {}, None)
        self.feed(html)
        self.close()
        assert self._open is self.root, f"<{self._open.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self._open)
        self._open.children.append(element)
        if tag not in VOID:
            self._open = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.children.append(Element(tag, dict(attrs), self._open))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.tag == tag, f"</{tag}> closes <{self._open.tag}>"
        assert self._open.parent is not None
        self._open = self._open.parent

    def handle_data(self, data: str) -> None:
        self._open.children.append(data)
