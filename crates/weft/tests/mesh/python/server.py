"""A gRPC server with all four kinds of calls, by grpcio. Messages are bytes as they are."""

import json
import sys
import time
from concurrent import futures

import grpc


def say(text):
    print(text, flush=True)


def unary(request, context):
    if request.startswith(b"status "):
        context.set_trailing_metadata((("x-trailer", "at the end"), ("x-bytes-bin", b"\x00\xff")))
        context.abort(grpc.StatusCode[request[7:].decode()], "as you wish: ä%")
    if request == b"metadata":
        context.set_trailing_metadata((("x-trailer", "at the end"),))
        return json.dumps(dict(context.invocation_metadata())).encode()
    if request == b"wait":
        # Until the caller gives up, or its deadline is over.
        done = futures.Future()
        left = context.time_remaining()
        say(f"waiting, deadline {'none' if left is None or left > 1e6 else 'known'}")
        context.add_callback(lambda: done.set_result(None))
        done.result(timeout=60)
        say(f"the wait is over, active {context.is_active()}")
        return b""
    context.send_initial_metadata((("x-initial", "at the start"),))
    context.set_trailing_metadata((("x-trailer", "at the end"), ("x-bytes-bin", b"\x00\xff")))
    return request


def unary_stream(request, context):
    if request == b"endless":
        context.add_callback(lambda: say("the endless stream is over"))
        while context.is_active():
            yield b"tick"
            time.sleep(0.01)
        return
    for number in range(int(request)):
        yield b"%d" % number


def stream_unary(requests, context):
    return b"%d" % sum(len(request) for request in requests)


def stream_stream(requests, context):
    for request in requests:
        yield request[::-1]


handlers = {
    "UnaryUnary": grpc.unary_unary_rpc_method_handler(unary),
    "UnaryStream": grpc.unary_stream_rpc_method_handler(unary_stream),
    "StreamUnary": grpc.stream_unary_rpc_method_handler(stream_unary),
    "StreamStream": grpc.stream_stream_rpc_method_handler(stream_stream),
}
server = grpc.server(
    futures.ThreadPoolExecutor(16),
    options=[("grpc.max_receive_message_length", 8 << 20)],
)
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("lab.Calls", handlers),))
if len(sys.argv) > 1:
    # By TLS: the files with its key and certificate.
    secrets = [tuple(open(path, "rb").read() for path in sys.argv[1:3])]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(secrets))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
say(f"listening at 127.0.0.1:{port}")
sys.stdin.read()
server.stop(0).wait()
