"""HTTP servers in one process, each of which serves as many requests at a time as its argument says,
20 ms each, and lets the others wait. Says in the body who has answered and how many were with it at
the most."""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    request_queue_size = 256


def start(number, capacity):
    lock, free, state = threading.Lock(), threading.Semaphore(capacity), {"now": 0, "most": 0}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with lock:
                state["now"] += 1
                state["most"] = max(state["most"], state["now"])
            with free:
                time.sleep(0.02)
            with lock:
                state["now"] -= 1
                body = b"%d %d\n" % (number, state["most"])
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return "127.0.0.1:%d" % server.server_address[1]


addresses = [start(number, int(capacity)) for number, capacity in enumerate(sys.argv[1:])]
print("listening at", ", ".join(addresses), flush=True)
threading.Event().wait()
