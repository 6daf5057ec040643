# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A relay of the demo, where nobody asks the DNS for it."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def submission(name: str, address: str, ca: Path) -> Iterator[smtplib.SMTP]:
    """A connection with TLS to an address, whose certificate must be for the name."""
    context = ssl.create_default_context(cafile=str(ca))
    with smtplib.SMTP(address, 587, timeout=30) as smtp:
        smtp._host = name  # type: ignore[attr-defined] # what starttls compares
        smtp.starttls(context=context)
        smtp.ehlo()
        yield smtp
