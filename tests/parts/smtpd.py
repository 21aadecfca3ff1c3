"""A mail server for the tests, on aiosmtpd: it shares no code with the mailer under test.

STARTTLS and AUTH are required unless told otherwise. Every accepted message becomes NNNN.eml in
--folder, with its envelope in NNNN.json, which is there first. The port is the first line on stdout.

How it misbehaves is written one verdict a line into --control; each message uses up the first:
    ok                           accept
    451 4.3.0 try again          answer the message with this
    rcpt 550 5.1.1 unknown       answer the next RCPT with this
    stall 5                      wait 5 s, then accept
    kept 5                       keep the message, and answer after 5 s
    lost                         accept and keep the message, but cut the connection without a word
    cut                          cut the connection, keep nothing
For many messages: with --brief a message is no file but a line of JSON in accepted.jsonl (its ids, to whom, when). While the file
--trouble exists, every --busy-every-th message is answered with 451, at every --cut-every-th the connection is cut, and at the one
numbered --silent-at the server says nothing more on that connection; none of these messages is kept.
It ends when its stdin ends.
"""

import argparse
import asyncio
import json
import os
import ssl
import sys
import threading
import time

from aiosmtpd.smtp import SMTP, AuthResult

arguments = argparse.ArgumentParser()
arguments.add_argument("--folder", required=True)
arguments.add_argument("--port", type=int, default=0)
arguments.add_argument("--tls", choices=["starttls", "implicit", "none"], default="starttls")
arguments.add_argument("--cert")
arguments.add_argument("--key")
arguments.add_argument("--user")
arguments.add_argument("--password")
arguments.add_argument("--control")
arguments.add_argument("--fail-first", type=int, default=0, metavar="N")
arguments.add_argument("--stall", type=float, default=0.0, metavar="SECONDS")
arguments.add_argument("--brief", action="store_true")
arguments.add_argument("--trouble", default="")
arguments.add_argument("--busy-every", type=int, default=0)
arguments.add_argument("--cut-every", type=int, default=0)
arguments.add_argument("--silent-at", type=int, default=0)
options = arguments.parse_args()


def next_verdict(stage):
    """Takes the first line of the control file, if it is meant for this stage."""
    try:
        with open(options.control or "", encoding="utf-8") as file:
            lines = [line.strip() for line in file if line.strip()]
    except FileNotFoundError:
        return None
    if not lines or lines[0].startswith("rcpt ") != (stage == "rcpt"):
        return None
    write(options.control, "".join(line + "\n" for line in lines[1:]).encode())
    return lines[0].removeprefix("rcpt ")


def write(path, content):
    with open(path + ".partial", "wb") as file:
        file.write(content)
    os.rename(path + ".partial", path)


if options.brief:
    accepted = open(os.path.join(options.folder, "accepted.jsonl"), "a", encoding="utf-8")


class Mailbox:
    def __init__(self):
        self.accepted = 0
        self.offered = 0
        self.failures_left = options.fail_first

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        verdict = next_verdict("rcpt")
        if verdict:
            return verdict
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def trouble(self):
        self.offered += 1
        if not options.trouble or not os.path.exists(options.trouble):
            return "ok"
        if self.offered == options.silent_at:
            return "silent"
        if options.cut_every and self.offered % options.cut_every == 0:
            return "cut"
        if options.busy_every and self.offered % options.busy_every == 0:
            return "451 4.3.0 busy"
        return "ok"

    async def handle_DATA(self, server, session, envelope):
        verdict = next_verdict("data") or self.trouble()
        if self.failures_left > 0:
            self.failures_left -= 1
            return "451 4.3.0 try again later"
        if options.stall:
            await asyncio.sleep(options.stall)
        word = verdict.split()[0]
        if word == "stall":
            await asyncio.sleep(float(verdict.split()[1]))
        elif word == "silent":
            await asyncio.sleep(3600)
            server.transport.abort()
            return "421 4.3.0 gone"
        elif word == "cut":
            server.transport.abort()
            return "421 4.3.0 gone"
        elif word not in ("ok", "lost", "kept"):
            return verdict
        self.keep(session, envelope)
        if word == "lost":
            server.transport.abort()
        elif word == "kept":
            await asyncio.sleep(float(verdict.split()[1]))
        return "250 2.0.0 kept"

    def keep(self, session, envelope):
        self.accepted += 1
        if options.brief:
            head = envelope.original_content.split(b"\r\n\r\n", 1)[0].decode("ascii", "replace")
            headers = dict(line.split(": ", 1) for line in head.replace("\r\n ", " ").split("\r\n") if ": " in line)
            line = {
                "message_id": headers.get("Message-ID"),
                "in_reply_to": headers.get("In-Reply-To"),
                "alert_id": headers.get("X-Tollgate-Alert-Id"),
                "revision": int(headers.get("X-Tollgate-Revision", 0)),
                "to": envelope.rcpt_tos[0],
                "unix_ms": int(time.time() * 1000),
            }
            accepted.write(json.dumps(line) + "\n")
            accepted.flush()
            return
        name = os.path.join(options.folder, f"{self.accepted:04}")
        facts = {
            "mail_from": envelope.mail_from,
            "rcpt_tos": envelope.rcpt_tos,
            "helo": session.host_name,
            "tls": session.ssl is not None or options.tls == "implicit",
            "user": session.auth_data,
            "unix_ms": int(time.time() * 1000),
        }
        write(name + ".json", json.dumps(facts).encode())
        write(name + ".eml", envelope.original_content)


def authenticate(server, session, envelope, mechanism, auth_data):
    user, password = auth_data.login.decode(), auth_data.password.decode()
    if (user, password) == (options.user, options.password):
        return AuthResult(success=True, auth_data=user)
    return AuthResult(success=False, handled=False)


async def serve():
    context = None
    if options.tls != "none":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.cert, options.key)
    mailbox = Mailbox()

    def session():
        return SMTP(
            mailbox,
            hostname="localhost",
            data_size_limit=32 * 1024 * 1024,
            enable_SMTPUTF8=True,
            tls_context=context if options.tls == "starttls" else None,
            require_starttls=options.tls == "starttls",
            authenticator=authenticate if options.user else None,
            auth_required=bool(options.user),
            auth_require_tls=options.tls == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        session, "127.0.0.1", options.port, ssl=context if options.tls == "implicit" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)

    def end_with_stdin():
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_stdin, daemon=True).start()
    await server.serve_forever()


asyncio.run(serve())
