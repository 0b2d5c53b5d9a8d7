"""A gRPC server for each name among the arguments, all in one process. Each answers every method of
every service with its name, in the message and as x-server, and with the metadata that it got."""

import json
import sys
import threading
from concurrent import futures

import grpc


class Named(grpc.GenericRpcHandler):
    def __init__(self, name):
        self.name = name

    def service(self, details):
        def answer(request, context):
            context.send_initial_metadata((("x-server", self.name),))
            asked = [list(pair) for pair in context.invocation_metadata()]
            return json.dumps({"server": self.name, "metadata": asked}, default=str).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


def start(name):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((Named(name),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


servers = [start(name) for name in sys.argv[1:]]
print("listening at", ", ".join(address for _, address in servers), flush=True)
threading.Event().wait()
