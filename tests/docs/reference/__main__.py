"""Writes the pages of docs/reference: `python -m tests.docs.reference`."""

from __future__ import annotations

import sys

from tests.docs.reference.pages import main

sys.exit(main())
