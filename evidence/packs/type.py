"""Type for evidence packs: which font prints a character, or its code point where none does.

Noto Sans is embedded (Latin, Greek, Cyrillic). Chinese, Japanese and Korean are printed with the
fonts that every PDF reader has for them. All other characters, and invisible or direction-changing
ones, are printed as code points.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import fontpkg_noto_sans
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont

SANS: Final = "NotoSans"
FILE: Final = Path(fontpkg_noto_sans.ROOT) / "files" / "NotoSans[wdth,wght].ttf"
# Font of the reader, and the character set whose characters it has for certain.
JAPANESE: Final = ("HeiseiMin-W3", "shift_jis")
CHINESE: Final = ("STSong-Light", "gbk")
KOREAN: Final = ("HYSMyeongJo-Medium", "cp949")
EAST_ASIAN: Final = (CHINESE, JAPANESE, KOREAN)
FIRST_EAST_ASIAN: Final = 0x2E80  # CJK radicals; below it Noto Sans or a code point
BEYOND_BMP: Final = 0x10000
LATIN_1_LAST: Final = "\u00ff"
KANA: Final = range(0x3040, 0x3100)
CHARACTERS_KEPT_MAX: Final = 65_536

Run = tuple[str, str]  # font, text


class Type:
    """Fonts, and the widths of characters, each measured once."""

    def __init__(self) -> None:
        font = TTFont(SANS, str(FILE))
        pdfmetrics.registerFont(font)
        for name, _ in EAST_ASIAN:
            pdfmetrics.registerFont(UnicodeCIDFont(name))
        self._has = font.face.charToGlyph
        self._widths: dict[str, float] = {}
        self._shown: dict[str, tuple[str, str]] = {}

    def runs(self, text: str) -> list[Run]:
        """The text as runs of one font each; a character without a font is in it as [U+0000]."""
        runs: list[Run] = []
        japanese = any(ord(each) in KANA for each in text)
        for character in text:
            font, shown = self._one(character, japanese)
            if runs and runs[-1][0] == font:
                runs[-1] = (font, runs[-1][1] + shown)
            else:
                runs.append((font, shown))
        return runs

    def plain(self, text: str) -> bool:
        """Whether the text is printable Latin-1, which Noto Sans has: nearly every text is."""
        return text.isprintable() and (text.isascii() or max(text) <= LATIN_1_LAST)

    def missing(self, text: str) -> Iterator[str]:
        """The characters of the text that are printed as code points."""
        if not self.plain(text):
            for character in text:
                if self._one(character, False)[1] != character:
                    yield character

    def width(self, text: str, font: str, size: float) -> float:
        """The width of a text in points."""
        return sum(self.character_width(each, font) for each in text) * size

    def character_width(self, character: str, font: str) -> float:
        """The width of a character at size 1, in points."""
        key = character if font == SANS else font + character
        width = self._widths.get(key)
        if width is None:
            if len(self._widths) >= CHARACTERS_KEPT_MAX:
                self._widths.clear()
            width = self._widths[key] = float(pdfmetrics.stringWidth(character, font, 1.0))
        return width

    def _one(self, character: str, japanese: bool) -> tuple[str, str]:
        key = ("j" if japanese else "") + character
        found = self._shown.get(key)
        if found is None:
            if len(self._shown) >= CHARACTERS_KEPT_MAX:
                self._shown.clear()
            found = self._shown[key] = self._look(character, japanese)
        return found

    def _look(self, character: str, japanese: bool) -> tuple[str, str]:
        code = ord(character)
        if unicodedata.category(character)[0] != "C" and character not in "\u2028\u2029":
            if code in self._has:
                return SANS, character
            if FIRST_EAST_ASIAN <= code < BEYOND_BMP:
                order = (JAPANESE, *EAST_ASIAN) if japanese else EAST_ASIAN
                for font, encoding in order:
                    if _encodes(character, encoding):
                        return font, character
        return SANS, f"[U+{code:04X}]"


def _encodes(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
