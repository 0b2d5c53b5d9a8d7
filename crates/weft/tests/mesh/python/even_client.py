"""A gRPC client for each address, with one connection for all of its calls. Says which server has
answered each call."""

import os
import sys
import threading
import time

import grpc

PAUSE = 0.1


def call(address):
    # Without this, channels to the same address would share a connection.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with grpc.insecure_channel(address, options=options) as channel:
        who = channel.unary_unary("/lab.Even/Who")
        while True:
            try:
                answer = who(b"", timeout=20).decode()
            except grpc.RpcError as error:
                answer = f"failed: {error.code().name} {error.details()}"
            # In one piece, so that the lines of several threads do not mix.
            os.write(1, f"{answer}\n".encode())
            time.sleep(PAUSE)


for address in sys.argv[1:]:
    threading.Thread(target=call, args=(address,), daemon=True).start()
threading.Event().wait()
