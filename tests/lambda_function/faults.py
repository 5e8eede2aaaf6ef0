"""A function that goes wrong in the way that its one item asks for."""

import os
import sys
import time

LINE = "0123456789abcdef" * 4 + "\n"


class OutOfStock(Exception):
    pass


def lambda_handler(event, context):
    do = event["items"][0]["do"]
    print(f"about to {do}")
    if do == "raise":
        raise OutOfStock("nothing is left")
    if do == "exit":
        print("the licence has run out", file=sys.stderr, flush=True)
        os._exit(3)
    if do == "hang":
        time.sleep(3600)
    if do == "log":
        for _ in range(10_000_000 // len(LINE)):
            sys.stdout.write(LINE)
    if do == "large":
        return ["x" * 7_000_000]
    if do == "garbage":
        return "no answer for an item"
    return [{"done": do, "pid": os.getpid()}]
