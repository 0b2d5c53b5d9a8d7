"""Calls the server of server.py through a route with filters, and checks what comes of it."""

import json
import sys

import grpc

channel = grpc.insecure_channel(sys.argv[1])
LIMIT = 60


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"{found!r:.300}, and expected is {expected!r:.300}")


metadata = (("x-set", "mine"), ("x-added", "mine"), ("x-removed", "1"), ("x-kept", "1"))
unary = channel.unary_unary("/old.Calls/UnaryUnary")
response, call = unary.with_call(b"metadata", timeout=LIMIT, metadata=metadata)
got = json.loads(response)
equal(got["x-set"], "rule")
equal(got["x-added"], "mine,rule")
equal(got.get("x-removed"), None)
equal(got["x-kept"], "1")
equal(dict(call.initial_metadata()).get("x-initial"), "rule")
equal(dict(call.trailing_metadata()).get("x-trailer"), "at the end")

# Streams are under the same rule, in both directions.
stream = channel.stream_stream("/old.Calls/StreamStream")
equal(list(stream((b"%d!" % n for n in range(9)), timeout=LIMIT)), [b"!%d" % n for n in range(9)])

# gRPC knows no redirects, and its clients take one for a failure.
for path, code in [("/moved.Calls/A", None), ("/gone.Calls/A", grpc.StatusCode.UNAVAILABLE)]:
    try:
        channel.unary_unary(path)(b"", timeout=LIMIT)
    except grpc.RpcError as error:
        if code is not None:
            equal(error.code(), code)
            equal(dict(error.trailing_metadata()).get("weft-reason"), "no-backend")
        else:
            assert "302" in error.details(), error.details()
    else:
        raise AssertionError(f"{path} is answered")
print("done", flush=True)
