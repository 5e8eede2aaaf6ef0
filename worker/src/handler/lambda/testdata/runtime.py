"""A Lambda runtime client for tests: asks for events, does what the event's first item says, and answers.

Standard library only. What the start does comes from the variable AT_START, what an event does from its field `do`.
"""

import base64
import http.client
import json
import os
import signal
import socket
import sys
import time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
BASE = "/2018-06-01/runtime"


def call(method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(API)
    connection.request(method, BASE + path, body, headers or {})
    response = connection.getresponse()
    return response.status, dict(response.getheaders()), response.read()


def report(path, error_type, message, headers=None):
    body = {"errorType": error_type, "errorMessage": message, "stackTrace": ["  in handler\n    raise\n"]}
    headers = {"Lambda-Runtime-Function-Error-Type": error_type, **(headers or {})}
    return call("POST", path, json.dumps(body), headers)


def stream(request_id, chunks, trailers):
    """Chunked by hand: http.client knows no trailers."""
    host, port = API.split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST {BASE}/invocation/{request_id}/response HTTP/1.1\r\nHost: {API}\r\nTransfer-Encoding: chunked\r\n"
        head += "Lambda-Runtime-Function-Response-Mode: streaming\r\nTrailer: " + ", ".join(trailers) + "\r\n\r\n"
        connection.sendall(head.encode())
        for chunk in chunks:
            connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        end = "".join(f"{name}: {value}\r\n" for name, value in trailers.items())
        connection.sendall(f"0\r\n{end}\r\n".encode())
        return connection.recv(1 << 16).split(b" ")[1].decode()


def start():
    how, _, argument = os.environ.get("AT_START", "").partition(":")
    if how == "count":
        with open(argument, "a") as file:
            file.write(f"{os.getpid()}\n")
    elif how == "error":
        report("/init/error", "Runtime.ImportModuleError", "No module named 'app'")
        sys.exit(1)
    elif how == "exit":
        with open(argument, "a") as file:
            file.write(f"{os.getpid()}\n")
        print("the start goes wrong", flush=True)
        sys.exit(7)
    elif how == "hang":
        print("the start takes its time", flush=True)
        time.sleep(3600)
    elif how == "exit-unless":
        if not os.path.exists(argument):
            sys.exit(7)


def handle(request_id, headers, event):
    item = event["Items"][0] if isinstance(event, dict) and "Items" in event else event
    do, _, argument = item["do"].partition(":")
    path = f"/invocation/{request_id}"
    answer = lambda value: call("POST", path + "/response", json.dumps(value))
    if do == "raise":
        print("about to raise", flush=True)
        report(path + "/error", "ValueError", "no such user", {"Lambda-Runtime-Function-XRay-Error-Cause": "x" * 900_000})
    elif do == "exit":
        print("about to exit", file=sys.stderr, flush=True)
        os._exit(int(argument))
    elif do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif do == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = os.fork()
        if child == 0:
            time.sleep(3600)
        with open(argument, "w") as fifo:
            fifo.write(f"{os.getpid()} {child}")
        time.sleep(3600)
    elif do == "log":
        line = "0123456789abcdef" * 4 + "\n"
        for _ in range(int(argument) // len(line)):
            sys.stdout.write(line)
        sys.stderr.write("x" * 100_000)
        sys.stdout.flush()
        answer("logged")
    elif do == "large":
        status, _, body = call("POST", path + "/response", json.dumps("x" * int(argument)))
        print(status, body.decode(), flush=True)
    elif do == "garbage":
        call("POST", path + "/response", "{not JSON")
    elif do == "nothing":
        call("POST", path + "/response", "")
    elif do == "stream":
        error = base64.b64encode(json.dumps({"errorType": "Late", "errorMessage": "half way"}).encode()).decode()
        trailers = {"Lambda-Runtime-Function-Error-Type": "Late", "Lambda-Runtime-Function-Error-Body": error}
        stream(request_id, [b'["a",', b'"b"]'], trailers if argument == "error" else {})
    elif do == "last":
        answer(os.getpid())
        os._exit(0)
    elif do == "break-rules":
        wrong = "00000000-0000-4000-8000-000000000000"
        seen = [
            call("POST", f"/invocation/{wrong}/response", "1")[0],
            call("POST", f"/invocation/{wrong}/error", "{}")[0],
            call("GET", "/invocation/next")[0],
            call("POST", "/init/error", "{}")[0],
            call("GET", "/no/such/path")[0],
            call("DELETE", "/invocation/next")[0],
        ]
        first = answer(seen)
        assert (first[0], json.loads(first[2])) == (202, {"status": "OK"}), first
    elif do == "bad-mode":
        call("POST", path + "/response", "1", {"Lambda-Runtime-Function-Response-Mode": "buffered?"})
    else:
        shown = {name.lower(): value for name, value in headers.items() if name.lower().startswith("lambda-runtime")}
        variables = {name: value for name, value in os.environ.items() if "LAMBDA" in name or name in ("TZ", "MORE")}
        answer({"pid": os.getpid(), "event": event, "headers": shown, "variables": variables})


start()
while True:
    _, next_headers, next_body = call("GET", "/invocation/next")
    lowered = {name.lower(): value for name, value in next_headers.items()}
    handle(lowered["lambda-runtime-aws-request-id"], next_headers, json.loads(next_body))
