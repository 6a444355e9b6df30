"""Writes the pages of docs/reference: `python -m app.reference`."""

from __future__ import annotations

import sys

from app.reference.pages import main

sys.exit(main())
