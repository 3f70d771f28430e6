"""A real HTTP server on this machine that supports ranges, and fails on demand."""

import contextlib
import gzip
import re
import socketserver
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class FileServer(socketserver.ThreadingMixIn, HTTPServer):
    """``files``: path -> content. ``faults``: path -> functions(handler, content), one for each of the next
    requests. ``requests``: (path, Range header or None, the request line's target). ``pause``:
    seconds after each 16 KiB.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, certificate=None):
        super().__init__(('127.0.0.1', 0), _Handler)
        self.scheme = 'http' if certificate is None else 'https'
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.files, self.faults, self.requests, self.pause = {}, {}, [], 0
        self.closing = threading.Event()

    @property
    def address(self):
        return f'{self.scheme}://127.0.0.1:{self.server_address[1]}'

    def ranges(self, path):
        return [given for asked, given, _ in self.requests if asked == path]

    def handle_error(self, request, client_address):
        pass  # clients are killed while they are served


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = re.sub(r'^http://[^/]*', '', self.path).partition('?')[0]
        self.server.requests.append((path, self.headers.get('Range'), self.path))
        faults = self.server.faults.get(path)
        content = self.server.files.get(path, b'')
        if faults:
            faults.pop(0)(self, content)
        elif path in self.server.files:
            serve(self, content)
        else:
            status(404)(self, content)

    def log_message(self, *_):
        pass


def serve(handler, content, ranges=True, send=None, **headers):
    """Answer a request, with ``send`` instead of the body, and headers (Content_Length=...) instead of
    the usual ones."""
    match = re.match(r'bytes=(\d+)-$', handler.headers.get('Range', '')) if ranges else None
    start = int(match.group(1)) if match else 0
    if match and start >= len(content):
        handler.send_response(416)
        handler.send_header('Content-Range', f'bytes */{len(content)}')
        handler.send_header('Content-Length', '0')
        handler.end_headers()
        return
    body = content[start:]
    usual = {'Content-Type': 'application/octet-stream', 'Content-Length': len(body)}
    if match:
        usual['Content-Range'] = f'bytes {start}-{len(content) - 1}/{len(content)}'
    usual.update((name.replace('_', '-'), value) for name, value in headers.items())
    handler.send_response(206 if match else 200)
    for name, value in usual.items():
        if value is not None:
            handler.send_header(name, str(value))
    handler.end_headers()
    (send or send_all)(handler, body)
    handler.close_connection = True


def send_all(handler, body):
    for begin in range(0, len(body), 1 << 14):
        handler.wfile.write(body[begin : begin + (1 << 14)])
        if handler.server.pause:
            time.sleep(handler.server.pause)


def drop(after):
    """Hang up after so many bytes of the body."""

    def drops(handler, content):
        serve(handler, content, send=lambda handler, body: handler.wfile.write(body[:after]))

    return drops


def stall(after):
    """Send so many bytes and then nothing."""

    def send(handler, body):
        handler.wfile.write(body[:after])
        handler.server.closing.wait(60)

    def stalls(handler, content):
        serve(handler, content, send=send)

    return stalls


def stall_before_the_answer(handler, content):
    handler.server.closing.wait(60)


def without_ranges(handler, content):
    serve(handler, content, ranges=False)


def with_headers(**headers):
    def says(handler, content):
        serve(handler, content, **headers)

    return says


def gzipped_if_allowed(handler, content):
    """Some servers compress for clients that do not exclude it."""
    if 'gzip' in handler.headers.get('Accept-Encoding', 'gzip'):
        packed = gzip.compress(content)
        serve(handler, packed, ranges=False, Content_Encoding='gzip', Content_Length=len(packed))
    else:
        serve(handler, content)


def chunked(handler, content):
    handler.protocol_version = 'HTTP/1.1'

    def send(handler, body):
        for begin in range(0, len(body), 5000):
            part = body[begin : begin + 5000]
            handler.wfile.write(b'%x\r\n%s\r\n' % (len(part), part))
        handler.wfile.write(b'0\r\n\r\n')

    serve(handler, content, ranges=False, Content_Length=None, Transfer_Encoding='chunked', send=send)


def status(code, text='', content_type='text/plain', **headers):
    def answers(handler, _):
        body = text.encode()
        handler.send_response(code)
        for name, value in dict(
            {'Content_Type': content_type, 'Content_Length': len(body)}, **headers
        ).items():
            handler.send_header(name.replace('_', '-'), str(value))
        handler.end_headers()
        handler.wfile.write(body)

    return answers


def page(text, code=200):
    return status(code, text, 'text/html; charset=utf-8')


def redirect(address):
    return status(302, Location=address)


@contextlib.contextmanager
def running(certificate=None):
    """A server. certificate: a file with a key and a certificate, for https."""
    server = FileServer(certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
