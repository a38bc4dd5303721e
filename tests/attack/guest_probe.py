"""What a hostile program in the desktop does, as root. Runs inside the guest; one JSON object a line.

Each answer says only what the guest saw. What really happened is counted where it would have arrived.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading

GATEWAY = ("192.168.0.1", 3128)


def tcp(address, port, wait, family=0):
    family = family or (socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(wait)
            sock.connect((address, port))
            return "open"
    except OSError as error:
        return type(error).__name__


def do_tcp(targets, wait=1.5):
    answers = [""] * len(targets)

    def one(index):
        answers[index] = tcp(*targets[index], wait)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def do_udp(targets, payload="probe"):
    answers = []
    for address, port in targets:
        try:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.settimeout(0.2)
                sock.sendto(payload.encode(), (address, port))
                answers.append(sock.recv(2048).decode("latin-1"))
        except OSError as error:
            answers.append(type(error).__name__)
    return answers


def do_proxy(requests, wait=20):
    """Each is sent to the gateway as it is; the whole answer."""
    answers = []
    for request in requests:
        answer = b""
        try:
            with socket.create_connection(GATEWAY, timeout=wait) as sock:
                sock.sendall(request.encode("latin-1"))
                sock.shutdown(socket.SHUT_WR)
                while data := sock.recv(65536):
                    answer += data
        except OSError as error:
            answer += f" {type(error).__name__}".encode()
        answers.append(answer.decode("latin-1"))
    return answers


def do_frames(frames):
    """Raw Ethernet; what a container's root may not."""
    device = next(name for _, name in socket.if_nameindex() if name != "lo")
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((device, 0))
            for frame in frames:
                sock.send(bytes.fromhex(frame))
        return "sent"
    except OSError as error:
        return type(error).__name__


def do_raw(address, protocol, payload):
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as sock:
            sock.sendto(bytes.fromhex(payload), (address, 0))
        return "sent"
    except OSError as error:
        return type(error).__name__


def do_names(names):
    answers = []
    for name in names:
        try:
            answers.append(sorted({item[4][0] for item in socket.getaddrinfo(name, 80)}))
        except OSError as error:
            answers.append([type(error).__name__])
    return answers


def do_dns(queries, server="192.168.0.1"):
    """Bare DNS queries, in hex, over UDP; the answers in hex."""
    answers = []
    for query in queries:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(1)
            try:
                sock.sendto(bytes.fromhex(query), (server, 53))
                answers.append(sock.recv(4096).hex())
            except OSError as error:
                answers.append(type(error).__name__)
    return answers


def do_run(argv, wait=60, env=None):
    result = subprocess.run(
        argv, capture_output=True, text=True, timeout=wait, env={**os.environ, **(env or {})}, check=False
    )
    return [result.returncode, result.stdout, result.stderr]


def main():
    for line in sys.stdin:
        asked = json.loads(line)
        answer = globals()["do_" + asked.pop("do")](**asked)
        print(json.dumps(answer), flush=True)


main()
