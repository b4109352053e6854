"A bucket on this machine: as much of S3's protocol as reading needs, over a folder."
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

class Bucket(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *_): pass

    def answer(self, status, body=b'', **headers):
        self.send_response(status)
        for k, v in (headers | {'Content-Length': len(body)}).items(): self.send_header(k.replace('_', '-'), str(v))
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(body)

    def listing(self, root, prefix, delimiter):
        names = [str(o.relative_to(root)) for o in sorted(root.rglob('*')) if o.is_file()]
        names = [o for o in names if o.startswith(prefix)]
        below = lambda o: delimiter and delimiter in o[len(prefix):]
        folders = dict.fromkeys(prefix + o[len(prefix):].split(delimiter)[0] + delimiter for o in names if below(o))
        files = ''.join(f'<Contents><Key>{escape(o)}</Key><Size>{(root/o).stat().st_size}</Size>'
                        '<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>'
                        for o in names if not below(o))
        folders = ''.join(f'<CommonPrefixes><Prefix>{escape(o)}</Prefix></CommonPrefixes>' for o in folders)
        told = f'<ListBucketResult><IsTruncated>false</IsTruncated>{files}{folders}</ListBucketResult>'
        self.answer(200, told.encode(), Content_Type='application/xml')

    def do_GET(self):
        url = urlsplit(self.path)
        query, (bucket, _, key) = parse_qs(url.query), unquote(url.path).lstrip('/').partition('/')
        root = self.server.root/bucket
        first = lambda k: query.get(k, [''])[0]
        if 'list-type' in query: return self.listing(root, first('prefix'), first('delimiter'))
        if not (root/key).is_file(): return self.answer(200 if not key and root.is_dir() else 404)
        data, span = (root/key).read_bytes(), self.headers.get('Range')
        dated = dict(Last_Modified='Thu, 01 Jan 2026 00:00:00 GMT', ETag='"1"')
        if not span or self.command == 'HEAD': return self.answer(200, data, **dated)
        first, last = span.removeprefix('bytes=').split('-')
        part = data[int(first):int(last) + 1 if last else None]
        self.answer(206, part, Content_Range=f'bytes {first}-{int(first) + len(part) - 1}/{len(data)}', **dated)

    do_HEAD = do_GET


def serve(root):
    "A running server over a folder of buckets; its address is http://127.0.0.1:PORT. The caller shuts it down."
    server = ThreadingHTTPServer(('127.0.0.1', 0), Bucket)
    server.root = Path(root)
    Thread(target=server.serve_forever, daemon=True).start()
    return server
