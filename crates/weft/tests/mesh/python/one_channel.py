"""Makes the calls that lines of JSON on its standard input ask for, all on one connection to argv[1]
and each as often as it says. Of each line it says in JSON who has answered how often, and what came
with the last answer or failure."""

import collections
import json
import sys

import grpc

LIMIT = 60

channel = grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_retries", 0)])
for line in sys.stdin:
    asked = json.loads(line)
    method = channel.unary_unary(asked["path"])
    by = collections.Counter()
    last = {}
    for _ in range(asked["times"]):
        metadata = [tuple(pair) for pair in asked["metadata"]]
        try:
            answer, call = method.with_call(b"", metadata=metadata, timeout=LIMIT)
            answer = json.loads(answer)
            by[answer["server"]] += 1
            fields = [list(pair) for pair in call.initial_metadata()]
            last = {"metadata": answer["metadata"], "fields": fields}
        except grpc.RpcError as error:
            by[error.code().name] += 1
            last = {"reason": dict(error.trailing_metadata() or ()).get("weft-reason")}
    print(json.dumps({"by": by, "last": last}), flush=True)
