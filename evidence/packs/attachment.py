"""The JSON of a pack inside its PDF, as an embedded file (ISO 32000-1, 7.11.4): both travel as one.

Every PDF reader lists it as an attachment and saves it. It is taken out here only to be verified,
and only from a PDF that `pack_pdf` has made: whoever verifies compares the whole file with what is
printed of the JSON again.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from reportlab.pdfbase import pdfdoc
from reportlab.pdfgen.canvas import Canvas

from evidence.verify_evidence import PACK_BYTES_MAX

PDF_BYTES_MAX: Final = 2 * PACK_BYTES_MAX  # pages and attachment, both compressed
PDF_BEGIN: Final = b"%PDF-"
COMPRESSION: Final = 9
_EMBEDDED: Final = b"/Type /EmbeddedFile"
_LENGTH: Final = re.compile(rb"/Length ([0-9]{1,9}) ")
_STREAM: Final = b">>\nstream\n"
DICTIONARY_BYTES_MAX: Final = 500  # of the attachment's own


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


def attached(pdf: bytes) -> bytes:
    """The one embedded file. Raises ValueError when there is none, another, or too large a one."""
    if len(pdf) > PDF_BYTES_MAX:
        raise ValueError(f"it has more than {PDF_BYTES_MAX} bytes")
    if pdf.count(_EMBEDDED) != 1:
        raise ValueError("it does not carry one evidence pack as an attachment")
    at = pdf.index(_EMBEDDED)
    lengths = _LENGTH.findall(pdf[max(0, at - DICTIONARY_BYTES_MAX) : at])
    begin = pdf.find(_STREAM, at, at + DICTIONARY_BYTES_MAX) + len(_STREAM)
    if len(lengths) == 0 or begin < at:
        raise ValueError("its attachment is not as this product writes it")
    unpacking = zlib.decompressobj()
    try:
        packed = pdf[begin : begin + int(lengths[-1])]
        content = unpacking.decompress(packed, PACK_BYTES_MAX + 1)
    except zlib.error as error:
        raise ValueError("its attachment cannot be unpacked") from error
    if len(content) > PACK_BYTES_MAX or not unpacking.eof:
        raise ValueError("its attachment is cut off or too large")
    return content
