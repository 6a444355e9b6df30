"""Writes A4 pages from top to bottom: headings, wrapped text, tables. Text is drawn, not
interpreted, so markup in it stays text.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from evidence.packs.type import SANS, Type

MARGIN: Final = 42.0  # points
FOOTER: Final = 26.0
SIZE: Final = 8.0
LEADING: Final = 1.35  # of the size
INDENT: Final = 12.0
GAP: Final = 8.0  # between two columns
PAGES_COUNT_MAX: Final = 4_000
BLACK: Final = 0.0
GREY: Final = 0.8  # between the rows of a table
Runs = list[tuple[str, str]]


@lru_cache(maxsize=1)
def type_() -> Type:
    """The fonts, loaded once for each process."""
    return Type()


class Sheet:
    """A PDF under construction. `left` and `right` are printed at the foot of each page, and the
    page number after `right`. Raises ValueError beyond PAGES_COUNT_MAX pages.
    """

    def __init__(self, left: str, right: str) -> None:
        self._left, self._right = left, right
        self._type = type_()
        self._buffer = io.BytesIO()
        self.canvas = Canvas(self._buffer, pagesize=A4, invariant=1, pageCompression=1)
        self._width, self._height = A4
        self._page = 0
        self._missing: dict[str, None] = {}
        self._begin_page()

    def made(self) -> bytes:
        """The bytes of the finished PDF; call it last."""
        self.canvas.save()
        return self._buffer.getvalue()

    def end(self) -> None:
        """Finish the last page, after a list of the characters that were printed as code points."""
        if self._missing:
            self.heading("Characters that are printed as code points")
            for character in self._missing:
                name = unicodedata.name(character, "(no name)")
                self.line(f"U+{ord(character):04X} {name}", INDENT)
        self._end_page()

    # -- lines -----------------------------------------------------------------------------------

    def heading(self, text: str) -> None:
        self._room(48)
        self._y -= 10
        self.line(text, size=10.5)
        self.canvas.setLineWidth(0.4)
        self.canvas.line(MARGIN, self._y - 3, self._width - MARGIN, self._y - 3)
        self._y -= 5

    def field(self, name: str, value: object, indent: float = 0.0) -> None:
        self.line(f"{name}: {value}", indent)

    def line(self, text: str, indent: float = 0.0, size: float = SIZE) -> None:
        """A text, wrapped at the page's width; `indent` and `size` in points."""
        for runs in self._wrapped(text, (self._width - 2 * MARGIN - indent) / size):
            self._room(size * LEADING)
            self._y -= size * LEADING
            self._draw(runs, MARGIN + indent, self._y, size)

    def table(self, shares: Sequence[float], rows: Sequence[Sequence[str]]) -> None:
        """Rows of cells, each wrapped in its share of the width; the first names the columns."""
        room = self._width - 2 * MARGIN
        widths = [share * room / sum(shares) for share in shares]
        for number, row in enumerate(rows):
            cells = [
                list(self._wrapped(text, (width - GAP) / SIZE))
                for text, width in zip(row, widths, strict=True)
            ]
            self._room(min(max(map(len, cells)) * SIZE * LEADING, self._height / 2))
            for at in range(max(map(len, cells))):
                self._room(SIZE * LEADING)
                self._y -= SIZE * LEADING
                x = MARGIN
                for cell, width in zip(cells, widths, strict=True):
                    if at < len(cell):
                        self._draw(cell[at], x, self._y, SIZE)
                    x += width
            self._rule(BLACK if number == 0 else GREY)

    def _rule(self, grey: float) -> None:
        self._y -= 3
        self.canvas.setLineWidth(0.3)
        self.canvas.setStrokeGray(grey)
        self.canvas.line(MARGIN, self._y, self._width - MARGIN, self._y)
        self.canvas.setStrokeGray(BLACK)

    def gap(self, points: float) -> None:
        self._y -= points

    def keep(self, height: float) -> None:
        """Begin a new page if less than this height (points) is left."""
        self._room(height)

    def _draw(self, runs: Runs, x: float, y: float, size: float) -> None:
        drawn = self.canvas.beginText(x, y)
        for font, part in runs:
            drawn.setFont(font, size)
            drawn.textOut(part)
        self.canvas.drawText(drawn)

    def _wrapped(self, text: str, room: float) -> Iterator[list[tuple[str, str]]]:
        """Lines as runs; `room` is their width at size 1."""
        self._missing |= dict.fromkeys(self._type.missing(text))
        runs = [(SANS, text)] if self._type.plain(text) else self._type.runs(text)
        line: list[tuple[str, str]] = []
        used = 0.0
        for font, part in runs:
            begin = at = 0
            space = -1
            while at < len(part):
                width = self._type.character_width(part[at], font)
                if used + width > room and (line or at > begin):
                    cut = space + 1 if space >= begin else at
                    yield [*line, (font, part[begin:cut])]
                    line, begin, at, used, space = [], cut, cut, 0.0, -1
                    continue
                if part[at] == " ":
                    space = at
                used += width
                at += 1
            line.append((font, part[begin:]))
        yield line

    # -- pages -----------------------------------------------------------------------------------

    def _room(self, height: float) -> None:
        if self._y - height < MARGIN + FOOTER:
            self._end_page()
            self._begin_page()

    def _begin_page(self) -> None:
        self._page += 1
        if self._page > PAGES_COUNT_MAX:
            raise ValueError(f"more than {PAGES_COUNT_MAX} pages: take the JSON")
        self._y = self._height - MARGIN

    def _end_page(self) -> None:
        self.canvas.setFont(SANS, 6.5)
        self.canvas.drawString(MARGIN, MARGIN, self._left)
        right = f"{self._right}page {self._page}"
        self.canvas.drawRightString(self._width - MARGIN, MARGIN, right)
        self.canvas.showPage()
