"""Asks in HTTP/2, many requests on each of several connections, and reads nothing for a while.

Prints how many requests came to which end: a status, with the reason if there is one.
"""

import collections
import json
import selectors
import socket
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

host, port = sys.argv[1].rsplit(":", 1)
CONNECTIONS, STREAMS = int(sys.argv[2]), int(sys.argv[3])
# Windows as wide as can be: what is not read waits in the proxy, as much as that takes.
WINDOW = 2**31 - 1
SLOWNESS = 3
LIMIT = 60


class Caller:
    def __init__(self):
        self.socket = socket.create_connection((host, int(port)))
        self.socket.settimeout(LIMIT)
        settings = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(settings)
        self.h2.initiate_connection()
        self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW})
        self.h2.increment_flow_control_window(WINDOW - 65535)
        self.ends, self.left = [], 0
        self.heads = {}

    def ask(self):
        for _ in range(STREAMS):
            stream = self.h2.get_next_available_stream_id()
            head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
            self.h2.send_headers(stream, head, end_stream=True)
            self.heads[stream] = "no answer"
            self.left += 1
        self.socket.sendall(self.h2.data_to_send())

    def take(self):
        """Reads something. Whether there is more to come."""
        data = self.socket.recv(1 << 16)
        if not data:
            return self.end("the connection ended")
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                fields = dict(event.headers)
                self.heads[event.stream_id] = fields[":status"] + " " + fields.get("weft-reason", "-")
            elif isinstance(event, h2.events.StreamEnded):
                self.close(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.heads[event.stream_id] += f", reset {event.error_code}"
                self.close(event.stream_id)
            elif isinstance(event, h2.events.ConnectionTerminated):
                return self.end(f"goaway {event.error_code}")
        self.socket.sendall(self.h2.data_to_send())
        return self.left > 0

    def close(self, stream):
        self.ends.append(self.heads.pop(stream))
        self.left -= 1

    def end(self, why):
        self.ends += [f"{head}, {why}" for head in self.heads.values()]
        return False


callers = [Caller() for _ in range(CONNECTIONS)]
for caller in callers:
    caller.ask()
time.sleep(SLOWNESS)
selector = selectors.DefaultSelector()
for caller in callers:
    selector.register(caller.socket, selectors.EVENT_READ, caller)
while selector.get_map():
    ready = selector.select(LIMIT)
    if not ready:
        break
    for key, _ in ready:
        if not key.data.take():
            selector.unregister(key.fileobj)
            key.fileobj.close()
for key in list(selector.get_map().values()):
    key.data.end("silence")
print(json.dumps(collections.Counter(end for caller in callers for end in caller.ends)))
