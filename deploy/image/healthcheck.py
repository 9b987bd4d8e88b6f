"""Exit 0 when the process in this container answers /readyz with 200, else 1 with the reason on stdout.

Runs every few seconds in every container, so it imports next to nothing
(`python3 -I -S healthcheck.py [port]`). Docker keeps the output, see `docker inspect` under State.Health.
"""

import socket
import sys

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 9090
TIMEOUT_S = 2.0
REPLY_BYTES_MAX = 4096


def main() -> int:
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=TIMEOUT_S) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            reply = b""
            while len(reply) < REPLY_BYTES_MAX and (part := connection.recv(REPLY_BYTES_MAX)):
                reply += part
    except OSError as error:
        print(f"no answer on port {PORT}: {error}")
        return 1
    head, _, body = reply.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    print(body.decode(errors="replace").strip())
    return 0 if status == [b"200"] else 1


if __name__ == "__main__":
    sys.exit(main())
