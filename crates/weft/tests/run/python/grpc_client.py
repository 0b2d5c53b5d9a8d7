"""500 unary calls a second by grpcio, which itself sends nothing again."""

import callers
import grpc

OPTIONS = [
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # A connection for each channel.
]


def connect():
    channel = grpc.insecure_channel("cart:80", options=OPTIONS)
    unary = channel.unary_unary("/lab.Calls/Unary")

    def ask(number):
        request = number.encode() + b" " + b"x" * 2000
        return None if unary(request, timeout=20) == request else "the answer is another's"

    return ask


callers.run(0.04, connect)
