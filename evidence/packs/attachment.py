"""Embeds the JSON of a pack in its PDF (ISO 32000-1, 7.11.4), so that both are one file.

PDF readers list it as an attachment and can save it. `verify_evidence.attached` reads it for
verification, only from a PDF that `evidence.packs.pdf` has made.
"""

from __future__ import annotations

import zlib
from typing import Final

from reportlab.pdfbase import pdfdoc
from reportlab.pdfgen.canvas import Canvas

COMPRESSION: Final = 9


def attach(canvas: Canvas, name: str, content: bytes) -> None:
    """Embed `content` under this file name in the document that is being made."""
    document = canvas._doc
    packed = zlib.compress(content, COMPRESSION)
    stream = pdfdoc.PDFStream(
        pdfdoc.PDFDictionary(
            {
                "Type": pdfdoc.PDFName("EmbeddedFile"),
                "Subtype": "/application#2Fjson",
                "Filter": pdfdoc.PDFName("FlateDecode"),
                "Params": pdfdoc.PDFDictionary({"Size": len(content)}),
            }
        ),
        packed,
    )
    file = pdfdoc.PDFDictionary(
        {
            "Type": pdfdoc.PDFName("Filespec"),
            "F": pdfdoc.PDFString(name),
            "UF": pdfdoc.PDFString(name),
            "Desc": pdfdoc.PDFString("The evidence pack: the proof of which this is printed"),
            "EF": pdfdoc.PDFDictionary({"F": document.Reference(stream)}),
        }
    )
    listed = pdfdoc.PDFArray([pdfdoc.PDFString(name), document.Reference(file)])
    document.Catalog.Names = pdfdoc.PDFDictionary(
        {"EmbeddedFiles": pdfdoc.PDFDictionary({"Names": listed})}
    )
