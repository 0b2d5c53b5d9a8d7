"""Opens tunnels full of streams, by OpenSSL, and says the same on each stream, then nothing more.

Prints how many streams were refused by a frame, how many were answered with which status, and how
many were not, as long as all of them were held. Who is told "deaf" reads nothing after the opening.
"""

import asyncio
import collections
import json
import re
import ssl
import sys

host, port = sys.argv[1].rsplit(":", 1)
COUNT, STREAMS = int(sys.argv[2]), int(sys.argv[3])
PREFACE, WELCOME = (bytes.fromhex(text) for text in sys.argv[4:6])
IS_DEAF = sys.argv[6] == "deaf"
SAID = open(sys.argv[7], "rb").read()
LIMIT = 60
HOLD = 5
DATA, CREDIT, REFUSED = 1, 4, 6
DATA_BYTES_MAX = WINDOW = 16 * 1024 - 8

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.check_hostname = False
context.load_verify_locations("roots.pem")
context.load_cert_chain("caller.pem", "caller.key")
context.set_alpn_protocols(["weft/1"])
ends = collections.Counter()


def data(stream, piece):
    return bytes([DATA]) + len(piece).to_bytes(3, "big") + stream.to_bytes(4, "big") + piece


async def hear(reader, writer, seen):
    left = {}

    def say(stream, room):
        while room > 0 and left[stream]:
            piece = left[stream][: min(room, DATA_BYTES_MAX)]
            left[stream] = left[stream][len(piece) :]
            room -= len(piece)
            writer.write(data(stream, piece))

    for stream in range(1, STREAMS + 1):
        left[stream] = SAID
        say(stream, WINDOW)
    await writer.drain()
    if IS_DEAF:
        writer.transport.pause_reading()
    while True:
        head = await reader.readexactly(8)
        stream = int.from_bytes(head[4:], "big")
        if head[0] == DATA:
            said = await reader.readexactly(int.from_bytes(head[1:4], "big"))
            status = re.match(rb"HTTP/1.1 (\d+)", said)
            if status:
                seen.setdefault(stream, status[1].decode())
        elif head[0] == CREDIT:
            say(stream, int.from_bytes(head[1:4], "big"))
        elif head[0] == REFUSED:
            seen[stream] = "refused"


async def tunnel(held):
    seen, writer, end = {}, None, "held"
    try:
        opening = asyncio.open_connection(
            host, int(port), ssl=context, ssl_handshake_timeout=LIMIT
        )
        reader, writer = await opening
        writer.write(PREFACE)
        answer = await asyncio.wait_for(reader.read(len(WELCOME)), LIMIT)
        if answer == WELCOME:
            async with asyncio.timeout(HOLD):
                await hear(reader, writer, seen)
        else:
            end = "tunnel refused"
    except TimeoutError:
        pass
    except (asyncio.IncompleteReadError, ConnectionError):
        end = "closed"
    ends.update(seen.values())
    ends[end] += STREAMS - len(seen)
    # Until all know what became of theirs.
    await held.wait()
    if writer:
        writer.transport.abort()


async def main():
    held = asyncio.Barrier(COUNT)
    await asyncio.gather(*(tunnel(held) for _ in range(COUNT)))


asyncio.run(main())
print(json.dumps(ends))
