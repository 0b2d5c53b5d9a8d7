"""Answers each request after a moment, writes down its number, and ends at once when it is told to:
it knows nothing of an orderly end."""

import http.server
import os
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        os.write(executed, (self.headers["x-number"] + "\n").encode())
        time.sleep(0.01)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


executed = os.open("executed", os.O_WRONLY | os.O_APPEND)
server = http.server.ThreadingHTTPServer(("", 8000), Handler)
print("listening", flush=True)
server.serve_forever()
