"""An application that says what it was asked, as JSON. What is in the query of a request says how
it is answered: `status=N`, `cors` if it is to say itself that every page may read that, and
`tell` if the same is to be printed."""

import http.server
import json
import sys
from urllib.parse import parse_qs, urlsplit


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        Handler.asked += 1
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        sent = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        said = {
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "sent": sent,
            "asked": Handler.asked,
        }
        body = json.dumps(said).encode()
        if "tell" in query:
            print(body.decode(), flush=True)
        self.send_response(int(query.get("status", ["200"])[0]))
        self.send_header("x-app", sys.argv[1])
        self.send_header("x-added", "app")
        self.send_header("x-removed", "app")
        if "cors" in query:
            self.send_header("access-control-allow-origin", "*")
            self.send_header("access-control-allow-credentials", "true")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer
    asked = 0

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"listening at 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
