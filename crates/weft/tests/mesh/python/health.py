"""So many servers in one process, of HTTP or of gRPC, each of which answers with its number, and
says that it is not healthy while there is a file `sick-NUMBER` in the directory."""

import os
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

protocol, directory, count = sys.argv[1], sys.argv[2], int(sys.argv[3])


def is_sick(number):
    return os.path.exists(os.path.join(directory, f"sick-{number}"))


def http(number):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            is_check = self.path == "/healthz"
            body = b"%d\n" % number
            self.send_response(503 if is_check and is_sick(number) else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


def grpc_of(number):
    import grpc

    def check(request, context):
        # The first field of the request is the name of the service.
        if request != b"\x0a\x08shop.Who":
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return b"\x08\x02" if is_sick(number) else b"\x08\x01"

    def who(request, context):
        return b"%d" % number

    server = grpc.server(futures.ThreadPoolExecutor(8))
    for service, name, answer in [
        ("grpc.health.v1.Health", "Check", check),
        ("shop.Who", "Ask", who),
    ]:
        handlers = {name: grpc.unary_unary_rpc_method_handler(answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


servers = [(http if protocol == "http" else grpc_of)(number) for number in range(count)]
print("listening at", ", ".join(f"127.0.0.1:{port}" for _, port in servers), flush=True)
threading.Event().wait()
