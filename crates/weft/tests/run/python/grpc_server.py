"""The same by grpcio: each call is answered after a moment and written down, and the end comes at
once, in the midst of whatever is under way."""

import os
import time
from concurrent import futures

import grpc


def unary(request, context):
    os.write(executed, request[: request.index(b" ")] + b"\n")
    time.sleep(0.01)
    return request


executed = os.open("executed", os.O_WRONLY | os.O_APPEND)
handlers = {"Unary": grpc.unary_unary_rpc_method_handler(unary)}
server = grpc.server(futures.ThreadPoolExecutor(16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lab.Calls", handlers),))
server.add_insecure_port("0.0.0.0:8000")
server.start()
print("listening", flush=True)
server.wait_for_termination()
