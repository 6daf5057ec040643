# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leads the shipper to the first collector that answers; what goes through stays encrypted.

rsyslog knows one collector, this gate: it tries for ever, and loses no line between two actions.
What it meets behind the gate must be right, though: at a wrong certificate it gives up for good.
So each collector is greeted here before it gets the connection, which also tells one that hangs
from one that lives.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any

# RELP acknowledges every line. Who does not for so long hangs, or is cut off: try another one,
# which gets all that was not acknowledged.
PATIENCE = 10.0
# For a handshake, and between two looks whether a better collector is back.
HANDSHAKE, BETTER = 3.0, 30.0
OFFER = b"relp_version=0\nrelp_software=log-shipper-gate\ncommands=syslog"


class Gate:
    def __init__(self, settings: dict[str, Any]) -> None:
        self.collectors = settings["collectors"]
        self.tls = ssl.create_default_context(cafile=settings["ca_file"])
        # As strict as rsyslog, not more: Python 3.13 minds what old authorities leave out.
        self.tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.tls.load_cert_chain(settings["certificate"], settings["key"])
        self.said = ""

    def say(self, what: str) -> None:
        """To the journal, so that the shipper itself has a line to send, and notices a change."""
        if what != self.said:
            print(what, flush=True)
        self.said = what

    async def fault(self, collector: dict[str, Any]) -> str:
        """Why a collector cannot be used; nothing if it can."""
        try:
            return await asyncio.wait_for(self.greet(collector), HANDSHAKE)
        except (OSError, asyncio.TimeoutError) as error:
            return str(error) or "no answer"

    async def greet(self, collector: dict[str, Any]) -> str:
        """Begin and end a session, as the shipper would."""
        reader, writer = await asyncio.open_connection(
            collector["address"],
            collector["port"],
            ssl=self.tls,
            server_hostname=collector["name"],
        )
        try:
            writer.write(b"1 open %d %s\n" % (len(OFFER), OFFER))
            if b"200 OK" not in (said := await reader.read(1000)):
                return f"it refuses this host {said.decode(errors='replace')}".rstrip()
            writer.write(b"2 close 0\n")
            await reader.read(1000)
        finally:
            writer.close()
        return ""

    async def choose(self, before: int) -> int | None:
        """The first that can be used, of those before a place in the list."""
        faults = []
        for place, collector in enumerate(self.collectors[:before]):
            fault = await self.fault(collector)
            if not fault:
                return place
            faults.append(f"{collector['name']}: {fault}")
        if before == len(self.collectors):
            self.say("no collector answers: " + "; ".join(faults))
        return None

    async def lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the shipper, from its first byte to its end."""
        try:
            first = await reader.read(65536)
            place = await self.choose(len(self.collectors)) if first else None
            ended = "" if place is None else await self.join(first, reader, writer, place)
        except OSError as error:
            ended = str(error)
        writer.close()
        if ended:
            # rsyslog finds out by its second line into a connection that is gone. On a host where
            # nobody says anything, these are the two.
            await asyncio.sleep(0.1)
            self.say(ended)
            await asyncio.sleep(0.5)
            self.say("waits for the shipper")

    async def join(
        self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: int
    ) -> str:
        """Carry bytes between the shipper and a collector; why it ended."""
        collector = self.collectors[place]
        there = await asyncio.open_connection(collector["address"], collector["port"])
        self.say(f"to {collector['name']}")
        there[1].write(first)
        passage = Passage()
        ways = [
            asyncio.ensure_future(passage.carry(reader, there[1], asked=True)),
            asyncio.ensure_future(passage.carry(there[0], writer, asked=False)),
            asyncio.ensure_future(passage.watch()),
            asyncio.ensure_future(self.better(place)),
        ]
        done, rest = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in rest:
            way.cancel()
        there[1].transport.abort()
        return f"no longer to {collector['name']}: {done.pop().result()}"

    async def better(self, place: int) -> str:
        """Wait until a collector that should rather be used is back."""
        while True:
            await asyncio.sleep(BETTER)
            if place and await self.choose(place) is not None:
                return "a better one is back"


class Passage:
    """The bytes of one connection, and since when they wait for an answer."""

    def __init__(self) -> None:
        self.waiting: float | None = time.monotonic()

    async def carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asked: bool
    ) -> str:
        try:
            while data := await reader.read(65536):
                self.waiting = (self.waiting or time.monotonic()) if asked else None
                writer.write(data)
                await writer.drain()
        except OSError as error:
            return str(error)
        return "the shipper went away" if asked else "it went away"

    async def watch(self) -> str:
        while not self.waiting or time.monotonic() - self.waiting < PATIENCE:
            await asyncio.sleep(1)
        return f"no answer for {PATIENCE:.0f} s"


async def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    gate = Gate(settings)
    server = await asyncio.start_server(gate.lead, "127.0.0.1", settings["port"])
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
