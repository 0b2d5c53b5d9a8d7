"""500 requests a second by HTTP/1.1."""

import http.client

import callers


def connect():
    connection = http.client.HTTPConnection("cart", timeout=20)

    def ask(number):
        try:
            connection.request("POST", "/", b"x" * 2000, {"x-number": number})
            answer = connection.getresponse()
            body = answer.read()
        except Exception:
            connection.close()
            raise
        return None if answer.status == 200 else f"{answer.status} {body}"

    return ask


callers.run(0.04, connect)
