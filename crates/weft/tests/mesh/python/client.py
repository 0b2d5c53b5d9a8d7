"""Calls the server of server.py through the mesh, and checks every answer."""

import sys
import threading

import grpc

channel = grpc.insecure_channel(
    sys.argv[1], options=[("grpc.max_receive_message_length", 8 << 20)]
)
unary = channel.unary_unary("/lab.Calls/UnaryUnary")
unary_stream = channel.unary_stream("/lab.Calls/UnaryStream")
stream_unary = channel.stream_unary("/lab.Calls/StreamUnary")
stream_stream = channel.stream_stream("/lab.Calls/StreamStream")
LIMIT = 60


def equal(found, expected):
    if found != expected:
        raise AssertionError(f"{found!r:.300}, and expected is {expected!r:.300}")


# All four kinds.
equal(unary(b"hello", timeout=LIMIT), b"hello")
equal(list(unary_stream(b"100", timeout=LIMIT)), [b"%d" % n for n in range(100)])
equal(stream_unary((b"x" * n for n in range(100)), timeout=LIMIT), b"4950")
equal(
    list(stream_stream((b"%03d" % n for n in range(100)), timeout=LIMIT)),
    [(b"%03d" % n)[::-1] for n in range(100)],
)
print("all four kinds", flush=True)

# One stream in both directions, in step: nothing is held back.
turn = threading.Semaphore(1)


def in_step():
    for number in range(20):
        turn.acquire()
        yield b"step %d" % number


for number, answer in enumerate(stream_stream(in_step(), timeout=LIMIT)):
    equal(answer, (b"step %d" % number)[::-1])
    turn.release()
print("in step", flush=True)

# Metadata at the start and at the end.
response, call = unary.with_call(b"hello", timeout=LIMIT, metadata=(("x-mine", "1"),))
equal(dict(call.initial_metadata()).get("x-initial"), "at the start")
equal(dict(call.trailing_metadata()).get("x-trailer"), "at the end")
equal(dict(call.trailing_metadata()).get("x-bytes-bin"), b"\x00\xff")
equal(call.code(), grpc.StatusCode.OK)
print("metadata", flush=True)

# Every status, with its message and trailers.
for code in grpc.StatusCode:
    if code is grpc.StatusCode.OK:
        continue
    try:
        unary(b"status " + code.name.encode(), timeout=LIMIT)
    except grpc.RpcError as error:
        equal(error.code(), code)
        equal(error.details(), "as you wish: ä%")
        equal(dict(error.trailing_metadata()).get("x-trailer"), "at the end")
        equal(dict(error.trailing_metadata()).get("x-bytes-bin"), b"\x00\xff")
    else:
        raise AssertionError(f"{code} did not come")
print("statuses", flush=True)

# Messages of 3 MB in either direction, several at a time.
big = bytes(range(256)) * 12_288
for future in [unary.future(big, timeout=LIMIT) for _ in range(4)]:
    equal(future.result(), big)
equal(stream_unary((big for _ in range(3)), timeout=LIMIT), b"%d" % (3 * len(big)))
equal(list(stream_stream(iter([big, big]), timeout=LIMIT)), [big[::-1], big[::-1]])
print("3 MB", flush=True)

# A deadline.
try:
    unary(b"wait", timeout=0.5)
except grpc.RpcError as error:
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
else:
    raise AssertionError("the deadline did not count")
print("deadline", flush=True)

# Cancellation in the midst of a stream; the channel goes on.
stream = unary_stream(b"endless", timeout=LIMIT)
for _ in range(5):
    equal(next(stream), b"tick")
stream.cancel()
try:
    for _ in stream:
        pass
except grpc.RpcError as error:
    equal(error.code(), grpc.StatusCode.CANCELLED)
else:
    raise AssertionError("the stream went on")
equal(unary(b"after", timeout=LIMIT), b"after")
print("done", flush=True)
