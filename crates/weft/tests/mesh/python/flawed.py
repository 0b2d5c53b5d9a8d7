"""HTTP servers in one process, each of which answers as its argument says: `ok`, `NUMBER%` of the
requests with 500, or `NUMBERms` after that time. Says who has answered in the body."""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def start(number, flaw):
    lock, state = threading.Lock(), {"requests": 0}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with lock:
                state["requests"] += 1
                count = state["requests"]
            status = 200
            if flaw.endswith("%"):
                share = int(flaw[:-1])
                # Evenly, so that there are never many in a row.
                status = 500 if count * share // 100 != (count - 1) * share // 100 else 200
            elif flaw.endswith("ms"):
                time.sleep(int(flaw[:-2]) / 1000)
            body = b"%d" % number
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return "127.0.0.1:%d" % server.server_address[1]


addresses = [start(number, flaw) for number, flaw in enumerate(sys.argv[1:])]
print("listening at", ", ".join(addresses), flush=True)
threading.Event().wait()
