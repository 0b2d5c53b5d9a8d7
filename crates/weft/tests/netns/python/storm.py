"""Opens many tunnels at once, by OpenSSL, and holds each for a while once it is open.

Prints what became of how many: the bytes that the proxy sent, in hexadecimal, or an error.
"""

import asyncio
import collections
import json
import resource
import ssl
import sys

host, port = sys.argv[1].rsplit(":", 1)
COUNT, PREFACE = int(sys.argv[2]), bytes.fromhex(sys.argv[3])
LIMIT = 120
HOLD = 3

most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.check_hostname = False
context.load_verify_locations("roots.pem")
context.load_cert_chain("caller.pem", "caller.key")
context.set_alpn_protocols(["weft/1"])
ends = collections.Counter()


async def storm():
    writer = None
    try:
        opening = asyncio.open_connection(
            host, int(port), ssl=context, ssl_handshake_timeout=LIMIT
        )
        reader, writer = await asyncio.wait_for(opening, LIMIT)
        writer.write(PREFACE)
        end = (await asyncio.wait_for(reader.read(4096), LIMIT)).hex() or "closed"
    except Exception as error:
        end = type(error).__name__
    ends[end] += 1
    if end == sys.argv[4]:
        # It is let in, and others want to be.
        await asyncio.sleep(HOLD)
    if writer:
        writer.transport.abort()


async def main():
    await asyncio.gather(*(storm() for _ in range(COUNT)))


asyncio.run(main())
print(json.dumps(ends))
