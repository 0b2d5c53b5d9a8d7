"""A client of delta xDS by grpcio and Envoy's own message definitions.

Prints one JSON object a line: each response, and how the call ended. After each response it does
what it reads from standard input: `ack`, `nack REASON` or `close`.
"""

import asyncio
import json
import queue
import ssl
import sys
import threading

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.rpc import status_pb2

TYPE = "type.weft.dev/weft.v1.Object"


def secured(address, directory, is_proved):
    """The TLS client: trusts the server's one certificate, as a client with its key's hash does."""
    host, port = address.rsplit(":", 1)
    server = ssl.get_server_certificate((host, int(port)))
    context = ssl.create_default_context(cadata=server)
    # It names no host: the key is what counts.
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    if is_proved:
        context.load_cert_chain(f"{directory}/chain.pem", f"{directory}/key.pem")
    return context


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
    except OSError:
        writer.close()


def tunnel(address, context):
    """A port of this process that leads to the server through TLS: grpcio insists on a name in the
    server's certificate, which has none."""
    host, port = address.rsplit(":", 1)
    ready = queue.Queue()

    async def relay(reader, writer):
        server_reader, server_writer = await asyncio.open_connection(host, int(port), ssl=context)
        assert server_writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))

    async def serve():
        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        ready.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    return grpc.insecure_channel(f"127.0.0.1:{ready.get()}")


def say(**what):
    print(json.dumps(what), flush=True)


def main(address, directory, mode):
    requests = queue.Queue()
    first = discovery_pb2.DeltaDiscoveryRequest(
        node=base_pb2.Node(id="shop/web-1", user_agent_name="grpcio"),
        type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster" if mode == "type" else TYPE,
        resource_names_subscribe=["self", "service/shop/cart"],
    )
    first.node.metadata.update({"generation": "7"})
    if mode == "compressed":
        first.resource_names_unsubscribe.extend(["service/shop/" + "a" * 60] * 100)
    requests.put(first)
    context = secured(address, directory, mode != "unproved")
    stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(tunnel(address, context))
    compression = grpc.Compression.Gzip if mode == "compressed" else None
    call = stub.DeltaAggregatedResources(iter(requests.get, None), compression=compression)
    try:
        for response in call:
            say(
                resources={it.name: [it.version, it.resource.type_url] for it in response.resources},
                removed=list(response.removed_resources),
                type_url=response.type_url,
                bodies={it.name: len(it.resource.value) for it in response.resources},
            )
            command, _, reason = sys.stdin.readline().strip().partition(" ")
            if command == "close":
                requests.put(None)
                continue
            answer = discovery_pb2.DeltaDiscoveryRequest(
                type_url=TYPE, response_nonce=response.nonce
            )
            if command == "nack":
                answer.error_detail.CopyFrom(status_pb2.Status(code=3, message=reason))
            requests.put(answer)
        say(code=call.code().name, details=call.details())
    except grpc.RpcError as error:
        say(code=error.code().name, details=error.details())


main(*sys.argv[1:])
