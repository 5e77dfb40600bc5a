#!/usr/bin/env python3
"""Sends the lines of standard input to a flowguard socket with `acknowledge: true`, so that each is taken exactly once.

    ./readings | acknowledged_client.py --socket /run/flowguard/pump.sock --name gateway-3

Lines are NDJSON or line protocol. Each is kept until the daemon has acknowledged it. When the connection or the daemon
goes away, the client connects again and sends again what was not acknowledged; the daemon knows lines by their numbers.
It ends with exit code 0 when standard input has ended and everything is acknowledged. A client that is started anew goes
on with the number that the daemon tells it. Two clients that run at a time need two names.
"""
import argparse
import collections
import json
import os
import select
import socket
import sys
import time

CHUNK_BYTES = 65536


class Lost(Exception):
    """The connection has ended."""


class Client:
    """A connection that outlives the daemon, and the lines that are not acknowledged yet."""

    def __init__(self, path, name, most_lines=10_000, retry_secs=0.5, answer_secs=30.0):
        self.path, self.name = path, name
        self.most_lines, self.retry_secs, self.answer_secs = most_lines, retry_secs, answer_secs
        self.kept = collections.deque()  # lines that are not acknowledged, oldest first
        self.offered = 0                 # how many of them this connection was given
        self.acknowledged = None         # the number of the last acknowledged line; None before the first greeting
        self.unsent = b""                # bytes of offered lines that the socket has not taken
        self.heard = b""
        self.connection = None

    def run(self, source):
        """Sends the lines of a descriptor until it ends and all of them are acknowledged."""
        begun, ended = b"", False
        while not ended or self.kept:
            if self.connection is None:
                self.connect()
            # Whoever is far ahead of the daemon is not read: its pipe fills, and it waits.
            readable = [self.connection] + ([source] if not ended and len(self.kept) < self.most_lines else [])
            writable = [self.connection] if self.unsent or self.offered < len(self.kept) else []
            can_read, can_write, _ = select.select(readable, writable, [])
            if source in can_read:
                data = os.read(source, CHUNK_BYTES)
                ended = not data
                # The last line may lack its end.
                *lines, begun = (begun + (data or b"\n")).split(b"\n")
                # Empty lines have no number, and neither have the comments of line protocol.
                self.kept.extend(line + b"\n" for line in lines if line.strip() and not line.startswith(b"#"))
            try:
                if self.connection in can_read:
                    self.hear()
                if self.connection in can_write:
                    self.send()
            except (OSError, Lost) as reason:
                self.disconnect(reason)

    def connect(self):
        """Connects and greets, again and again until the daemon answers."""
        is_told = False
        while self.connection is None:
            try:
                number = (self.acknowledged or 0) + 1
                known = self.greet(number)
                if self.acknowledged is not None:
                    self.forget(known)
                if known >= number:
                    # This connection counts from the number that it was told, so the next line would pass for one that
                    # is committed: a new connection counts on behind that. (In a new run no line was sent yet.)
                    self.acknowledged = known
                    self.disconnect()
                self.acknowledged = self.acknowledged or 0
            except (OSError, Lost) as reason:
                if not is_told:
                    print(f"{self.path}: {reason}; trying again", file=sys.stderr)
                is_told = True
                self.disconnect()
                time.sleep(self.retry_secs)

    def greet(self, number):
        """Connects, says which number the next line has, and returns the last one that the daemon has."""
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(self.answer_secs)
        self.connection.connect(self.path)
        self.connection.sendall(json.dumps({"hello": self.name, "next": number}).encode() + b"\n")
        self.heard = b""
        while b"\n" not in self.heard:
            self.heard += self.receive()
        answer, self.heard = self.heard.split(b"\n", 1)
        self.connection.setblocking(False)
        return json.loads(answer)["ok"]

    def send(self):
        """Gives the socket what it takes."""
        while self.unsent or self.offered < len(self.kept):
            if not self.unsent:
                count = min(len(self.kept) - self.offered, 256)
                self.unsent = b"".join(self.kept[self.offered + i] for i in range(count))
                self.offered += count
            try:
                self.unsent = self.unsent[self.connection.send(self.unsent):]
            except BlockingIOError:
                return

    def hear(self):
        """Reads acknowledgements, and forgets what they are for."""
        self.heard += self.receive()
        *answers, self.heard = self.heard.split(b"\n")
        for answer in answers:
            self.forget(json.loads(answer)["ok"])

    def forget(self, number):
        """Lets go of the lines up to this number."""
        while self.acknowledged < number and self.kept:
            self.kept.popleft()
            self.offered = max(0, self.offered - 1)
            self.acknowledged += 1

    def receive(self):
        data = self.connection.recv(CHUNK_BYTES)
        if not data:
            raise Lost("the daemon has closed the connection")
        return data

    def disconnect(self, reason=None):
        if reason:
            print(f"{self.path}: {reason}; {len(self.kept)} lines wait", file=sys.stderr)
        if self.connection:
            self.connection.close()
        self.connection, self.offered, self.unsent = None, 0, b""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--socket", required=True, help="the path of a stream's socket")
    parser.add_argument("--name", required=True, help="what tells this client from others: at most one at a time")
    chosen = parser.parse_args()
    Client(chosen.socket, chosen.name).run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
