"""So many gRPC servers in one process, each of which answers every call with its number."""

import sys
import threading
from concurrent import futures

import grpc


def start(number):
    def answer(request, context):
        return b"%d" % number

    server = grpc.server(futures.ThreadPoolExecutor(8))
    handlers = {"Who": grpc.unary_unary_rpc_method_handler(answer)}
    handler = grpc.method_handlers_generic_handler("lab.Even", handlers)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


servers = [start(number) for number in range(int(sys.argv[1]))]
print("listening at", ", ".join(address for _, address in servers), flush=True)
threading.Event().wait()
