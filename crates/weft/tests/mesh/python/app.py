"""An application that answers HTTP/1.1 after a moment, says who it is, and writes down each request
before it answers. Arguments: its name, and the file for that."""

import http.server
import os
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        number = self.headers["x-request-id"]
        os.write(executed, f"{self.command} {number}\n".encode())
        time.sleep(0.01)
        self.send_response(200)
        self.send_header("x-app", name)
        self.send_header("x-request-id", number)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"hello from " + name.encode())

    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["content-length"])))

    def log_message(self, *_):
        pass


name = sys.argv[1]
executed = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening at 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
