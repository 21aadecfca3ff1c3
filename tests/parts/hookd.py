"""A receiver of webhooks for the tests, on Python's own http.server: it shares no code with the sender under test.

Every request becomes NNNN.json in --folder: path, headers, body, and whether the signature is right for --secret. The port is the
first line on stdout. How it answers stands in the path: /status/503 answers 503, /first/2/503 answers 503 to the first two requests
and 200 to those after, /stall/5 waits five seconds, /later/7 answers 429 with retry-after: 7, everything else is 200. It ends when its stdin ends.
"""

import argparse
import hashlib
import hmac
import http.server
import json
import os
import sys
import threading
import time

arguments = argparse.ArgumentParser()
arguments.add_argument("--folder", required=True)
arguments.add_argument("--secret", default="")
options = arguments.parse_args()
lock = threading.Lock()
count = 0


def is_signed(header, body):
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    expected = hmac.new(options.secret.encode(), f"{parts.get('t', '')}.".encode() + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, parts.get("v1", ""))


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global count
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with lock:
            count += 1
            number = count
        kept = {
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(),
            "signed": is_signed(self.headers.get("tollgate-signature", ""), body),
        }
        name = os.path.join(options.folder, f"{number:04}.json")
        with open(name + ".partial", "w", encoding="utf-8") as file:
            json.dump(kept, file)
        os.rename(name + ".partial", name)
        way = self.path.strip("/").split("/")
        status = 200
        if way[0] == "status":
            status = int(way[1])
        elif way[0] == "first" and number <= int(way[1]):
            status = int(way[2])
        elif way[0] == "later":
            status = 429
        elif way[0] == "stall":
            time.sleep(float(way[1]))
        self.send_response(status)
        if way[0] == "later":
            self.send_header("retry-after", way[1])
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
