"Writes a film for Chromium's fake camera: the sample photo's face, moving. tools/fake_camera.py FILE.mjpeg [FACES]"
import sys
from pathlib import Path

import cv2
import numpy as np

SAMPLE = Path(__file__).resolve().parent.parent/'fer_nb/static/sample.jpg'


def frames(faces=1, n=120, width=640, height=480):
    "`n` frames of a seamless loop, in which one face, or two side by side, swing through the picture."
    photo = cv2.imread(str(SAMPLE))
    for i in range(n):
        turn = 2*np.pi*i/n
        frame = np.full((height, width, 3), 70, np.uint8)
        if faces == 1: places = [(1, 60 + 60*np.sin(turn), -20 + 25*np.cos(turn))]
        else: places = [(1, -60 + 25*np.sin(turn), 0), (1, 260 - 25*np.sin(turn), 20*np.cos(turn))]
        for scale, x, y in places:
            move = np.float32([[scale, 0, x], [0, scale, y]])
            cv2.warpAffine(photo, move, (width, height), dst=frame, borderMode=cv2.BORDER_TRANSPARENT)
        yield frame


def write(path, faces=1):
    "Frames as consecutive JPEGs, which Chromium plays in a loop at 30 frames per second."
    with open(path, 'wb') as f:
        for frame in frames(faces): f.write(cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    return Path(path)


if __name__ == '__main__': write(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
