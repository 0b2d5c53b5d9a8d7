"""Makes the calls that lines of JSON on its standard input ask for, each on a connection of its
own, and says by a line of JSON how each has ended."""

import json
import sys

import grpc

LIMIT = 60


def ended(asked):
    options = [("grpc.default_authority", asked["authority"]), ("grpc.enable_retries", 0)]
    options.append(("grpc.use_local_subchannel_pool", 1))
    with grpc.insecure_channel(asked["address"], options=options) as channel:
        call = channel.unary_unary(asked["path"])
        try:
            return call.with_call(b"hello", metadata=asked["metadata"], timeout=LIMIT)[1]
        except grpc.RpcError as error:
            return error


for line in sys.stdin:
    call = ended(json.loads(line))
    answer = {
        "grpc_status": call.code().value[0],
        "reason": dict(call.trailing_metadata() or ()).get("weft-reason", ""),
        "app": dict(call.initial_metadata() or ()).get("x-app", ""),
    }
    print(json.dumps(answer), flush=True)
