"""Makes calls of all four kinds to the server of server.py, by argv[1], and says for each whether
it was refused: by which status, for which reason, and with which words."""

import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1])
LIMIT = 60


def calls():
    yield lambda: channel.unary_unary("/lab.Calls/UnaryUnary")(b"hello", timeout=LIMIT)
    yield lambda: list(channel.unary_stream("/lab.Calls/UnaryStream")(b"3", timeout=LIMIT))
    yield lambda: channel.stream_unary("/lab.Calls/StreamUnary")(iter([b"a", b"b"]), timeout=LIMIT)
    yield lambda: list(channel.stream_stream("/lab.Calls/StreamStream")(iter([b"a"]), timeout=LIMIT))


for call in calls():
    try:
        call()
    except grpc.RpcError as error:
        reason = dict(error.trailing_metadata()).get("weft-reason")
        print(error.code().name, reason, error.details())
    else:
        print("OK")
