"Films whose truth is known: every frame has its row, faces keep their number, and what is interrupted goes on."
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

av = pytest.importorskip('av')

from fer_nb.core import FerError  # noqa: E402
from fer_nb.emotions import EMOTIONS  # noqa: E402
from fer_nb.inference.recognize import EmotionRecognizer  # noqa: E402
from fer_nb.video.faces import video_faces  # noqa: E402
from fer_nb.video.files import Video, VideoWriter  # noqa: E402
from fer_nb.video.read import read_video  # noqa: E402

FER_NB = str(Path(sys.executable).parent/'fer-nb')


def fer_nb(*args, code=0):
    r = subprocess.run([FER_NB, *map(str, args)], capture_output=True, text=True, env=os.environ | {'COLUMNS': '200'})
    assert r.returncode == code, r.stdout + r.stderr
    return r.stdout + r.stderr


@pytest.fixture(scope='module')
def head(sample):
    "The shipped photo's head, 160 x 160."
    photo = cv2.imread(str(sample))
    x, y, w, h = map(int, EmotionRecognizer()(photo)[0].box)
    return cv2.resize(photo[max(0, y - h//2):y + 3*h//2, max(0, x - w//2):x + 3*w//2], (160, 160))


def scene(heads, wall=150, size=(480, 640)):
    "A frame with (picture, x, y) pasted on a wall, the last in front."
    image = np.full((*size, 3), wall, np.uint8)
    for picture,x,y in heads:
        left, right = max(0, x), min(size[1], x + picture.shape[1])
        if left < right: image[y:y+picture.shape[0], left:right] = picture[:, left - x:right - x]
    return image


def write(path, images, times=None):
    images = list(images)
    with VideoWriter(path, images[0].shape[1], images[0].shape[0]) as film:
        for i,image in enumerate(images): film.write(image, times[i] if times else i/30)
    return path


@pytest.fixture(scope='module')
def walk(head, tmp_path_factory):
    "Ninety frames; one head walks to the right."
    return write(tmp_path_factory.mktemp('film')/'walk.mp4', (scene([(head, 20 + 4*i, 140)]) for i in range(90)))


def table(path): return list(csv.DictReader(Path(path).open()))


@pytest.mark.parametrize('every', [1, 2, 4])
def test_two_who_pass_each_other_keep_their_numbers(head, tmp_path, every):
    other = cv2.convertScaleAbs(head[:, ::-1], alpha=.7, beta=10)
    film = write(tmp_path/'cross.mp4', (scene([(other, 460 - 6*i, 180), (head, 20 + 6*i, 140)]) for i in range(74)))
    seen = {'front': set(), 'behind': set()}
    for o in video_faces(film, every=every):
        centres = {'front': (100 + 6*o.number, 220), 'behind': (540 - 6*o.number, 260)}
        for f in o.faces:
            x, y = f.box[0] + f.box[2]/2, f.box[1] + f.box[3]/2
            far = sorted((abs(x - cx) + abs(y - cy), name) for name,(cx, cy) in centres.items())
            if far[0][0] < far[1][0] - 60: seen[far[0][1]].add(f.track)
    assert sorted(map(len, seen.values())) == [1, 1] and seen['front'] != seen['behind']


def test_a_face_that_is_hidden_for_half_a_second_keeps_its_number(head, tmp_path):
    board = np.full((300, 220, 3), (60, 80, 90), np.uint8)
    frames = (scene([(head, 20 + 4*i, 140)] + [(board, -10 + 4*i, 100)]*(40 <= i < 55)) for i in range(100))
    found = list(video_faces(write(tmp_path/'board.mp4', frames)))
    assert {f.track for o in found for f in o.faces} == {1}
    hidden = {o.number for o in found if not o.faces}
    assert {*range(42, 53)} <= hidden <= {*range(38, 57)}


def test_every_frame_has_its_row_at_its_time_however_uneven(head, tmp_path):
    times = [i/30 + .4*(i > 20) + .01*(i % 3) for i in range(60)]
    film = write(tmp_path/'uneven.mp4', (scene([(head, 100, 100)] if i > 30 else []) for i in range(60)), times)
    read_video(film, csv=tmp_path/'t.csv')
    rows = table(tmp_path/'t.csv')
    assert [int(o['frame']) for o in rows] == list(range(60))
    assert np.allclose([float(o['time']) for o in rows], times, atol=2e-3)
    assert all(o['track'] == '' and o['label'] == '' for o in rows[:30]) and all(o['track'] == '1' for o in rows[34:])
    p = np.array([[float(o[k]) for k in EMOTIONS] for o in rows[34:]])
    assert np.allclose(p.sum(1), 1, atol=1e-3)


def test_a_film_that_lies_on_its_side_is_read_upright(head, tmp_path):
    lying = np.rot90(scene([(head, 200, 250)], size=(640, 480)))          # turned counterclockwise by the camera
    with VideoWriter(tmp_path/'phone.mp4', 640, 480) as film:
        film._stream.set_display_rotation(-90)
        for i in range(4): film.write(np.ascontiguousarray(lying), i/30)
    video = Video(tmp_path/'phone.mp4')
    assert (video.width, video.height) == (480, 640)
    face = next(video_faces(video)).faces[0]
    assert abs(face.box[0] + face.box[2]/2 - 280) < 15 and abs(face.box[1] + face.box[3]/2 - 330) < 25
    read_video(video, out=tmp_path/'out.mp4')
    assert (Video(tmp_path/'out.mp4').width, Video(tmp_path/'out.mp4').height) == (480, 640)


def test_a_hole_in_the_file_has_its_row_and_is_counted(walk, tmp_path):
    data = bytearray(walk.read_bytes())
    with av.open(str(walk)) as file: packets = [o for o in file.demux(video=0) if o.size]
    for p in packets[40:43]: data[p.pos:p.pos + p.size] = b'\xff'*p.size
    (tmp_path/'hole.mp4').write_bytes(data)
    said = fer_nb('video', tmp_path/'hole.mp4', '--csv', tmp_path/'t.csv', '--out', tmp_path/'o.mp4')
    rows = table(tmp_path/'t.csv')
    assert [int(o['frame']) for o in rows] == list(range(90)) and '90 frames, 3 of them damaged' in said
    assert [int(o['frame']) for o in rows if o['seen'] == ''] == [40, 41, 42]
    assert sum(1 for _ in Video(tmp_path/'o.mp4').frames()) == 90


def test_a_film_that_breaks_off_is_read_to_its_last_frame(tmp_path, head):
    with VideoWriter(tmp_path/'whole.mkv', 640, 480) as film:
        for i in range(60): film.write(scene([(head, 100 + 2*i, 100)]), i/30)
    with av.open(str(tmp_path/'whole.mkv')) as file: at = [o.pos for o in file.demux(video=0) if o.size][40]
    (tmp_path/'cut.mkv').write_bytes((tmp_path/'whole.mkv').read_bytes()[:at])
    found = read_video(tmp_path/'cut.mkv', csv=tmp_path/'t.csv')
    assert 38 <= found['frames'] <= 40 and len(table(tmp_path/'t.csv')) == found['frames']


def with_sound(path, out):
    "The film with a tone of the same length."
    with av.open(str(path)) as source, av.open(str(out), 'w') as target:
        track = target.add_stream_from_template(source.streams.video[0])
        tone = target.add_stream('aac', rate=44100, layout='mono')
        for packet in source.demux(video=0):
            if packet.dts is None: continue
            packet.stream = track
            target.mux(packet)
        for i in range(3*44100//1024):
            wave = np.sin(np.arange(1024*i, 1024*i + 1024)*.06, dtype=np.float32)[None]
            frame = av.AudioFrame.from_ndarray(wave, format='fltp', layout='mono')
            frame.rate, frame.pts = 44100, 1024*i
            target.mux(tone.encode(frame))
        target.mux(tone.encode())
    return out


def test_the_annotated_film_keeps_the_sound_and_can_be_played_by_browsers(walk, tmp_path):
    film = with_sound(walk, tmp_path/'loud.mp4')
    results = '--out', tmp_path/'o.mp4', '--plot', tmp_path/'line.png', '--parquet', tmp_path/'t.parquet'
    fer_nb('video', film, '--start', '1', '--end', '0:02.5', *results)
    with av.open(str(tmp_path/'o.mp4')) as o:
        video, sound = o.streams.video[0], o.streams.audio[0]
        codings = video.codec_context.name, video.codec_context.pix_fmt, sound.codec_context.name
        assert codings == ('h264', 'yuv420p', 'aac')
        assert video.frames == 45 and 1.3 < float(sound.duration*sound.time_base) < 1.7
    frames = list(Video(tmp_path/'o.mp4').frames())
    assert abs(frames[0].time) < .04
    assert np.abs(frames[0].image.astype(int) - scene([], 150)).max() > 100                  # somebody is in it
    assert cv2.imread(str(tmp_path/'line.png')).shape[1] > 800
    pq = pytest.importorskip('pyarrow.parquet')
    t = pq.read_table(tmp_path/'t.parquet')
    assert t['frame'].to_pylist() == list(range(30, 75)) and set(t['label'].to_pylist()) == {'happy'}


@pytest.fixture(scope='module')
def long(head, tmp_path_factory):
    "A film of 900 frames, and the table of one who reads it without a break."
    folder = tmp_path_factory.mktemp('long')
    film = write(folder/'long.mp4', (scene([(head, 20 + i % 400, 140)]) for i in range(900)))
    read_video(film, csv=folder/'whole.csv')
    return film, (folder/'whole.csv').read_text()


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_it_goes_on_and_gives_the_same(long, tmp_path, how):
    long, whole = long
    command = [FER_NB, 'video', str(long), '--csv', str(tmp_path/'t.csv'), '--out', str(tmp_path/'o.mp4')]
    p, state = subprocess.Popen(command, stderr=subprocess.PIPE, text=True), tmp_path/'o.mp4.parts/state.json'
    deadline = time.time() + 120
    while time.time() < deadline and p.poll() is None and not state.exists(): time.sleep(.01)
    assert p.poll() is None, 'it ended before it could be killed'
    p.send_signal(how)
    err = p.communicate(timeout=60)[1]
    if how != signal.SIGKILL:
        assert p.returncode == 130 and 'resume' in err
        part = table(tmp_path/'t.csv')
        assert [int(o['frame']) for o in part] == list(range(len(part))) and len(part) >= 300
        assert sum(1 for _ in Video(tmp_path/'o.mp4').frames()) == len(part)
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '900 frames' in said.stdout and not (tmp_path/'o.mp4.parts').exists()
    assert (tmp_path/'t.csv').read_text() == whole
    assert sum(1 for _ in Video(tmp_path/'o.mp4').frames()) == 900


def test_what_cannot_be_read_is_named_in_one_sentence(walk, tmp_path, sample):
    (tmp_path/'notes.mp4').write_text('shopping list')
    with av.open(str(tmp_path/'song.m4a'), 'w') as song:
        tone = song.add_stream('aac', rate=44100, layout='mono')
        for i in range(30):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
            frame.rate, frame.pts = 44100, 1024*i
            song.mux(tone.encode(frame))
        song.mux(tone.encode())
    (tmp_path/'strange.mp4').write_bytes(walk.read_bytes().replace(b'avc1', b'zzz1'))
    for file,words in (('notes.mp4', 'it holds text'), ('song.m4a', 'no video stream, only sound'),
                       ('strange.mp4', 'no decoder'), ('nowhere.mp4', 'does not exist')):
        said = fer_nb('video', tmp_path/file, '--csv', tmp_path/'t.csv', code=2)
        assert words in said and file in said and 'Traceback' not in said
    for options,words in ((('--region', '0,0,9999,50'), 'inside the frame of 640 x 480'),
                          (('--start', '9'), 'only 3.00 seconds'),
                          (('--every', '0'), 'every is 0'), (('--end', 'soon'), "--end is 'soon'"),
                          (('--csv', walk), 'named twice'), (('--out', tmp_path/'no/o.mp4'), 'does not exist'),
                          (('--out', tmp_path/'o.txt'), 'end in .mp4'), (('--plot', tmp_path/'p.txt'), 'end in .png'),
                          (('--shape', 'star'), 'star')):
        said = fer_nb('video', walk, *options, code=2)
        assert words in said and 'Traceback' not in said, said
    assert walk.stat().st_size > 1000
    assert sorted(o.name for o in tmp_path.iterdir()) == ['notes.mp4', 'song.m4a', 'strange.mp4']


def test_a_stream_without_times_is_read_from_its_start_only(tmp_path):
    raw = tmp_path/'raw.h264'
    with av.open(str(raw), 'w', format='h264') as file:
        stream = file.add_stream('libx264', rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, 'yuv420p'
        for i in range(50): file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), 4*i, np.uint8))))
        file.mux(stream.encode())
    assert sum(1 for _ in Video(raw).frames()) == 50
    with pytest.raises(FerError, match='cannot be read from 0.5 s, only from its start: convert it to MP4'):
        list(Video(raw).frames(.5))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_film(head, tmp_path):
    small = cv2.resize(scene([(head, 100, 100)]), (320, 240))
    code = ("import resource, sys; from fer_nb.video.read import read_video; read_video(*sys.argv[1:4]); "
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)")
    peak = {}
    for n in (400, 4000):
        film = write(tmp_path/f'{n}.mp4', [small]*n)
        command = [sys.executable, '-c', code, str(film), str(tmp_path/'o.mp4'), str(tmp_path/'t.csv')]
        r = subprocess.run(command, capture_output=True, text=True, check=True)
        peak[n] = int(r.stdout.split()[-1])/1024
    assert peak[4000] < peak[400] + 25, peak


def test_the_camera_command_reads_a_film_in_place_of_a_camera(head, tmp_path):
    images = [scene([(head, 20 + 8*i, 140)]) for i in range(30)]
    film = write(tmp_path/'slow.mp4', images, [i/10 for i in range(30)])      # ten a second: any machine keeps up
    results = '--csv', tmp_path/'t.csv', '--out', tmp_path/'o.mp4'
    said = fer_nb('camera', '--device', film, '--no-window', *results, '--seconds', '2')
    rows = table(tmp_path/'t.csv')
    assert 18 <= len(rows) <= 21 and f'{len(rows)} frames' in said and {o['track'] for o in rows if o['track']} == {'1'}
    assert sum(1 for _ in Video(tmp_path/'o.mp4').frames()) == len(rows)
    assert 'The camera 77 cannot be opened' in fer_nb('camera', '--device', '77', '--no-window', code=2)


def test_without_a_screen_the_camera_says_so(walk):
    env = {k: v for k,v in os.environ.items() if k not in ('DISPLAY', 'WAYLAND_DISPLAY')}
    for more in ({}, {'DISPLAY': ':99'}):                                                 # none, or none that answers
        command, how = [FER_NB, 'camera', '--device', str(walk)], dict(capture_output=True, text=True, env=env | more)
        r = subprocess.run([*command, '--window'], **how)
        assert r.returncode == 2 and 'no screen' in r.stderr
        r = subprocess.run([*command, '--seconds', '.3'], **how)
        assert r.returncode == 0 and 'frames in' in r.stdout


@pytest.mark.skipif(not shutil.which('Xvfb'), reason='no Xvfb')
def test_the_camera_shows_a_window_where_there_is_a_screen(walk):
    screen = subprocess.Popen(['Xvfb', ':97', '-screen', '0', '800x600x24'])
    try:
        time.sleep(1)
        command = [FER_NB, 'camera', '--device', str(walk), '--window', '--seconds', '1']
        r = subprocess.run(command, capture_output=True, text=True, env=os.environ | {'DISPLAY': ':97'})
        assert r.returncode == 0 and 'frames in' in r.stdout, r.stderr
    finally: screen.terminate()
