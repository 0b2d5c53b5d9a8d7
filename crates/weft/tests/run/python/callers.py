"""Twenty callers, each so many times a second on a connection that is kept, with requests none of
which may be sent twice. They end once the file `enough` is there."""

import os
import threading
import time

CALLERS = 20
failures, sent = [], [0] * CALLERS


def call(caller, every, ask):
    due = time.monotonic()
    while not os.path.exists("enough") and len(failures) < 20:
        due += every
        time.sleep(max(0, due - time.monotonic()))
        number = f"{caller}-{sent[caller]}"
        sent[caller] += 1
        try:
            failure = ask(number)
        except Exception as error:
            failure = f"{error!r}"
        if failure:
            failures.append(f"{number}: {failure}")


def run(every, connect):
    """`connect` gives each caller what it asks by; that gives back what was wrong, if anything."""
    callers = [
        threading.Thread(target=call, args=(caller, every, connect())) for caller in range(CALLERS)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    print("sent", sum(sent), "failed", len(failures), *failures, sep="\n")
