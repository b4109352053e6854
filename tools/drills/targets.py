"""The targets: for each kind of input, some real files, the way to break them, and the code that reads them.

A target is a class; `TARGETS` has them by name. `case(seed, i)` is the i-th broken input, always the same."""

import io
import json
from pathlib import Path

from drills import mutate

TARGETS = {}
ROOT = Path(__file__).resolve().parents[2]


class Target:
    "A reader and its input files."

    change = staticmethod(mutate.of_bytes)

    def __init_subclass__(cls):
        if cls.__doc__ and not cls.__name__.startswith('_'):
            TARGETS[cls.__name__.lower()] = cls

    def __init__(self, folder):
        self.folder = Path(folder)
        self.originals = self.seeds()  # [(file name, bytes)]

    def warm(self, i):
        "Read an original, so imports and caches are not counted."
        self.read(*self.originals[i % len(self.originals)])

    def case(self, seed, i):
        "(file name, bytes) of a broken input."
        rng = mutate.source(seed, type(self).__name__, i)
        name, data = rng.choice(self.originals)
        return name, self.change(data, rng, [o for n, o in self.originals if Path(n).suffix == Path(name).suffix])

    def put(self, name, data):
        "The input as a file."
        path = self.folder / name
        path.write_bytes(data)
        return path


def photo(height=160):
    "The face of the sample photo, small, so thousands of copies are read quickly."
    import cv2

    from fer_nb.core import static_file
    from fer_nb.inference.image import open_image

    return cv2.resize(open_image(static_file('sample.jpg'))[0:320, 80:400], (height, height))


class Pictures(Target):
    "Photos in every format, opened and searched for faces."

    def seeds(self):
        import cv2
        import numpy as np

        small = photo()
        grey, clear = (
            cv2.cvtColor(small, cv2.COLOR_BGR2GRAY),
            np.dstack([small, np.full(small.shape[:2], 200, np.uint8)]),
        )
        forms = {
            'a.jpg': small,
            'grey.jpg': grey,
            'a.png': small,
            'clear.png': clear,
            'deep.png': small.astype(np.uint16) * 257,
            'a.webp': small,
            'clear.webp': clear,
            'a.bmp': small,
            'a.tiff': small,
            'deep.tiff': small.astype(np.uint16) * 257,
            'a.gif': small,
            'a.pgm': grey,
            'a.ppm': small,
            'a.jp2': small,
            'a.avif': small,
        }
        made = [(k, cv2.imencode(Path(k).suffix, v)[1].tobytes()) for k, v in forms.items() if cv2.haveImageWriter(k)]
        return made + self.by_pillow(small)

    def by_pillow(self, small):
        "Formats that OpenCV cannot write: HEIC, JPEG XL, JPEG with EXIF, progressive JPEG, a palette, an animated GIF."
        import pillow_heif
        import pillow_jxl  # noqa: F401, registers the format
        from PIL import Image

        pillow_heif.register_heif_opener()
        image, found = Image.fromarray(small[..., ::-1]), []
        exif = image.getexif()
        exif[0x112] = 6
        ways = {
            'a.heic': {},
            'a.jxl': {},
            'turned.jpg': dict(exif=exif),
            'slow.jpg': dict(progressive=True),
            'cmyk.jpg': dict(mode='CMYK'),
            'few.png': dict(mode='P'),
            'film.gif': dict(save_all=True, append_images=[image]),
            'packed.tiff': dict(compression='tiff_lzw'),
        }
        for name, how in ways.items():
            out, mode = io.BytesIO(), how.pop('mode', 'RGB')
            kind = {'.jpg': 'JPEG', '.heic': 'HEIF', '.tiff': 'TIFF'}.get(
                Path(name).suffix, Path(name).suffix[1:].upper()
            )
            image.convert(mode).save(out, format=kind, **how)
            found.append((name, out.getvalue()))
        return found

    def read(self, name, data):
        from fer_nb.inference.image import open_image
        from fer_nb.inference.recognize import EmotionRecognizer

        self.recognizer = getattr(self, 'recognizer', None) or EmotionRecognizer('lenet')
        image = open_image(data, name)
        if image.size < 2 * 10**6:
            self.recognizer(image)


def faces_table(n=8):
    "Drawn faces as FER-2013's CSV."
    from fer_nb.training.faces import drawn_faces

    faces = drawn_faces(n, size=24)
    usage = ['Training', 'Training', 'PublicTest', 'PrivateTest']
    rows = [f"{i % 7},{' '.join(map(str, o.ravel()))},{usage[i % 4]}" for i, o in enumerate(faces.images)]
    return '\n'.join(['emotion,pixels,Usage', *rows]).encode()


class _Datasets(Target):
    def read(self, name, data):
        from fer_nb.training.data import choose_split, load

        choose_split(load(self.put(name, data)))


class Tables(_Datasets):
    "FER-2013 as CSV."

    change = staticmethod(mutate.of_table)

    def seeds(self):
        return [('fer2013.csv', faces_table())]


class Zips(_Datasets):
    "Datasets as zip files of class folders, and RAF-DB's list."

    change = staticmethod(mutate.of_zip)

    def seeds(self):
        import zipfile

        import cv2

        def packed(names, **more):
            out = io.BytesIO()
            with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
                for i, name in enumerate(names):
                    z.writestr(name, cv2.imencode(Path(name).suffix, photo(24 + 8 * i))[1].tobytes())
                for k, v in more.items():
                    z.writestr(k.replace('_', '/', 1) + '.txt', v)
            return out.getvalue()

        splits = [f'{s}/{e}/{s}_{i}.jpg' for s in ('train', 'test') for e in ('happy', 'sad') for i in range(2)]
        raf = [f'Image/aligned/{s}_0001_aligned.png' for s in ('train', 'test')]
        text = 'train_0001.jpg 4\ntest_0001.jpg 5\n'
        return [
            ('faces.zip', packed(splits)),
            ('raf.zip', packed(raf, EmoLabel_list_patition_label=text.replace('.jpg', '.png'))),
        ]


class Votes(Target):
    "Tables of votes."

    change = staticmethod(mutate.of_table)

    def seeds(self):
        from fer_nb.emotions import FERPLUS_COLUMNS

        rows = [
            ','.join(map(str, ('Training', f'fer{i:07}.png', *([0] * i), 6, 4, *([0] * (8 - i))))) for i in range(6)
        ]
        return [('votes.csv', '\n'.join([','.join(('Usage', 'Image name', *FERPLUS_COLUMNS)), *rows]).encode())]

    def read(self, name, data):
        from fer_nb.training.votes import read_votes

        read_votes(self.put(name, data))


class Cards(Target):
    "The cards of models, beside an undamaged network."

    change = staticmethod(mutate.of_json)

    def seeds(self):
        from fer_nb.core import models_dir

        content = (models_dir() / 'lenet.tflite').read_bytes()
        self.put('lenet.tflite', content)
        return [('lenet.json', (models_dir() / 'lenet.json').read_bytes())]

    def read(self, name, data):
        import numpy as np

        from fer_nb.apps.page import emotions_of, model_choices, shown_card
        from fer_nb.inference.recognize import EmotionRecognizer
        from fer_nb.inference.zoo import models_table, read_card

        card = read_card(self.put(name, data))
        models_table([card]), repr(card), card.lacks
        json.dumps([shown_card(card), model_choices([card]), emotions_of(card.labels)])
        recognizer = EmotionRecognizer(str(card.model_path))
        for o in recognizer.crops([np.full((48, 48), 128, np.uint8)]):
            json.dumps(o.to_dict())


class Networks(Target):
    "LiteRT files with matching cards: first in a separate process, then, if they pass, here."

    def seeds(self):
        from fer_nb.core import models_dir

        self.cards = {
            o: json.loads((models_dir() / o).with_suffix('.json').read_text())
            for o in ('lenet.tflite', 'simple_cnn.tflite')
        }
        return [(o, (models_dir() / o).read_bytes()) for o in self.cards]

    def put_model(self, name, data):
        from hashlib import sha256

        card = dict(self.cards[name], file=dict(name=name, sha256=sha256(data).hexdigest()))
        (self.folder / name).with_suffix('.json').write_text(json.dumps(card))
        return self.put(name, data)

    def read(self, name, data):
        "As in `load_model`, but with the trial in a copy of this process, which is faster than a new one."
        import os

        import numpy as np

        from fer_nb.core import FerError
        from fer_nb.inference import zoo

        path = self.put_model(name, data)
        card = zoo.read_card(path.with_suffix('.json'))
        child = os.fork()
        if not child:
            code = 1
            try:
                zoo._attempt(str(path), card.size, len(card.labels))
                code = 0
            finally:
                os._exit(code)
        if code := os.waitpid(child, 0)[1]:
            raise FerError(f"It fails when it is run ({code}).")
        zoo._tried.add(card['file']['sha256'])
        zoo.load_model(path).predict(np.random.default_rng(5).integers(0, 256, (5, card.size, card.size), np.uint8))


class Results(Target):
    "The files of runs, teachers and films: histories, recipes, states, answers of teachers."

    def seeds(self):
        import numpy as np

        from fer_nb.core import models_dir
        from fer_nb.training.distill import write_answers
        from fer_nb.training.faces import drawn_faces

        self.faces = drawn_faces(6, size=24)
        write_answers(self.folder / 'answers.npz', self.faces, np.full((6, 7), 1 / 7), command='x')
        recipe = dict(
            recipe=dict(arch='lenet', options={}, epochs=2, seed=0, size=24),
            command='x',
            data=dict(origin='x', labels=list(self.faces.names), counts={}),
        )
        state = dict(epoch=2, callbacks={'_KeepBest': {'best': 1.0}}, rate=0.1, history=[], stopped=False)
        return [
            ('history.csv', (models_dir() / 'lenet.csv').read_bytes()),
            ('recipe.json', mutate.as_json(recipe)),
            ('state.json', mutate.as_json(state)),
            ('answers.npz', (self.folder / 'answers.npz').read_bytes()),
        ]

    @staticmethod
    def change(data, rng, others):
        if data[:1] == b'{':
            return mutate.of_json(data, rng)
        return (mutate.of_bytes if data[:2] == b'PK' else mutate.of_table)(data, rng)

    def read(self, name, data):
        from fer_nb.training.distill import read_answers
        from fer_nb.training.plots import plot_history
        from fer_nb.training.runs import Run, read_history, start_run

        run = Run(self.folder)
        for o, content in self.originals:
            self.put(o, content)
        path = self.put(name, data)
        if name == 'answers.npz':
            return read_answers(path, self.faces)
        if name == 'history.csv':
            return read_history(path), plot_history(path)
        start_run(self.folder, json.loads(dict(self.originals)['recipe.json']))
        run.info['recipe']['arch'], run.info['data']['labels']


class Films(Target):
    "Films in several containers, every frame decoded."

    def seeds(self):
        import numpy as np

        from fer_nb.video.files import VideoWriter

        made = []
        for name in ('a.mp4', 'a.mkv', 'a.avi', 'a.mov'):
            with VideoWriter(self.folder / name, 64, 48, 10) as film:
                for i in range(6):
                    film.write(np.roll(photo(64)[:48], i, 1), i / 10)
            made.append((name, (self.folder / name).read_bytes()))
        return made

    def read(self, name, data):
        from fer_nb.video.files import Video

        film = Video(self.put(name, data))
        for _ in film.frames():
            pass
        for _ in film.frames(0.2):
            break


class Pages(Target):
    "Messages of the page: documents and pictures."

    def seeds(self):
        pixels = dict(Pictures.seeds(self))
        self.buffers = [pixels['a.jpg'], pixels['a.png'], b'', b'no picture', pixels['a.gif']]
        said = [
            dict(kind='photo', id=1, name='a.jpg', preview=True),
            dict(kind='photo', id=2, closer=True),
            dict(kind='sample', id=3),
            dict(kind='annotate', id=4, name='a.jpg'),
            dict(kind='frame', id=5, time=1.5),
            dict(kind='reset', id=6),
        ]
        return [(f"{o['kind']}.json", mutate.as_json(dict(content=o, buffers=[0], model='lenet'))) for o in said]

    by_pillow = Pictures.by_pillow

    @staticmethod
    def change(data, rng, others):
        return mutate.as_json(mutate.of_document(json.loads(data), rng))

    def read(self, name, data):
        import logging

        from fer_nb.apps.widgets import Dashboard, answer_message
        from fer_nb.core import FerError

        if not hasattr(self, 'board'):
            self.board, failed = Dashboard('lenet'), []
            handler = logging.Handler()
            handler.emit = lambda record: failed.append(record.exc_info[1])
            self.failed = failed
            log = logging.getLogger('fer_nb')
            log.addHandler(handler), setattr(log, 'propagate', False)
        said = json.loads(data)
        said = said if isinstance(said, dict) else {}
        which = said.get('buffers')
        buffers = [self.buffers[o % 5] for o in which if isinstance(o, int)][:20] if isinstance(which, list) else []
        handlers = self.board.photo._handlers | self.board.camera._handlers
        reply, _ = answer_message(handlers, said.get('content'), buffers)
        json.dumps(reply)
        if isinstance(model := said.get('model'), str):
            self.board.model = model
        if self.failed:
            raise self.failed.pop()
        if 'error' in reply:
            raise FerError(reply['error'])


class Requests(Target):
    "Requests to a running API: heads and bodies."

    def __init__(self, folder):
        import re
        import subprocess
        import sys

        super().__init__(folder)
        self.log = open(self.folder / 'api.log', 'w+')
        words = 'fer-nb api --port 0 --workers 1 --seconds 5 --max-bytes 3e6 --max-pictures 4 --model lenet'.split()
        code = f"import sys; sys.argv = {words!r}; from fer_nb.cli.main import main; main()"
        self.server = subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.port = int(re.search(r':(\d+)', self.server.stdout.readline())[1])
        self.seen = 0

    def seeds(self):
        from base64 import b64encode

        import cv2

        jpeg = cv2.imencode('.jpg', photo(96))[1].tobytes()
        text = b64encode(jpeg).decode()
        part = (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
            + jpeg
        )
        forms = {
            'raw': ('image/jpeg', jpeg),
            'one': ('application/json', mutate.as_json(dict(image=text))),
            'many': ('application/json', mutate.as_json(dict(images=[text, f'data:image/jpeg;base64,{text}', 'x']))),
            'form': ('multipart/form-data; boundary=b', (part + b'\r\n') * 2 + b'--b--\r\n'),
        }
        return [
            (f'{k}.http', self.request('?align=true&threshold=0.5&annotate=circle', kind, body))
            for k, (kind, body) in forms.items()
        ]

    @staticmethod
    def request(query, kind, body):
        lines = f'POST /v1/faces{query} HTTP/1.1', 'Host: x', f'Content-Type: {kind}', f'Content-Length: {len(body)}'
        return '\r\n'.join((*lines, 'Connection: close', '', '')).encode() + body

    @staticmethod
    def change(data, rng, others):
        head, _, body = data.partition(b'\r\n\r\n')
        if rng.random() < 0.25:
            return mutate.of_bytes(head, rng) + b'\r\n\r\n' + body
        if b'json' in head and rng.random() < 0.6:
            body = mutate.as_json(mutate.of_document(json.loads(body), rng))
        else:
            body = mutate.of_bytes(body, rng)
        kind = head.split(b'Content-Type: ')[1].split(b'\r')[0].decode()
        return Requests.request('?align=true', kind, body)

    def read(self, name, data):
        import socket
        from contextlib import suppress

        from fer_nb.core import FerError

        answer = b''
        with (
            socket.create_connection(('127.0.0.1', self.port), timeout=1.5) as s,
            suppress(ConnectionError, TimeoutError),
        ):
            s.sendall(data)
            while part := s.recv(65536):
                answer += part  # an incomplete request waits for the rest
        if self.server.poll() is not None:
            raise RuntimeError(f'the server ended: {self.server.poll()}')
        self.log.seek(self.seen)
        said, self.seen = self.log.read(), self.log.tell()
        if 'Traceback' in said:
            raise RuntimeError(said[-500:])
        if not answer:
            raise FerError("The connection was closed.")
        status = int(answer.split()[1])
        if status >= 500:
            raise RuntimeError(answer.decode(errors='replace')[-300:])
        if status != 200:
            raise FerError(f"{status}.")
        json.loads(answer.partition(b'\r\n\r\n')[2])
