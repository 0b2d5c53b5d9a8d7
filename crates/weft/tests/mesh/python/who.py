"""Asks a gRPC server so often who it is, and prints what it answers, a line each."""

import sys

import grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    ask = channel.unary_unary("/shop.Who/Ask")
    for _ in range(int(sys.argv[2])):
        print(ask(b"", timeout=20).decode())
