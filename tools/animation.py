"""Makes the README's animation, nbs/images/reading.webp: python tools/animation.py

NASA's portrait of Eileen Collins (public domain) stands in for a camera: it is turned, shrunk and darkened, and then
the mouth is covered. The program reads each frame as it reads a camera's, and what it answers is what is shown."""
import cv2
import numpy as np
from common import ROOT
from PIL import Image

from fer_nb.core import static_file
from fer_nb.inference.draw import draw_report
from fer_nb.inference.image import open_image
from fer_nb.inference.recognize import EmotionRecognizer
from fer_nb.video.track import FaceStream

SIDE, HEIGHT, RATE = 400, 360, 12                   # of a frame and of the result, pixels; frames per second
# Where each scene ends: degrees, size, light, share of the mouth that is covered; and seconds from the last one
SCENES = [(0, 1, 1, 0, .6), (-35, 1, 1, 0, .9), (35, .8, 1, 0, 1.4), (0, 1, 1, 0, .7), (0, 1, .3, 0, .8),
          (0, 1, 1, 0, .6), (0, 1, 1, 1, .5), (0, 1, 1, 1, 1.4), (0, 1, 1, 0, .5)]


def path():
    "(degrees, size, light, covered) of each frame, with soft starts and ends."
    last = SCENES[0][:4]
    for *goal, seconds in SCENES:
        for i in range(n := round(seconds*RATE)):
            t = (1 - np.cos(np.pi*(i + 1)/n))/2
            yield tuple(a + t*(b - a) for a, b in zip(last, goal))
        last = goal


def frame(photo, mouth, degrees, size, light, covered):
    "The photo rotated about the face, reduced, darkened, and with a mask over the mouth."
    masked, (x, y) = photo.copy(), mouth
    place = round(x), round(y + 4 + 40*(1 - covered))
    if covered > 0: cv2.ellipse(masked, place, (36, 27), 0, 0, 360, (214, 196, 158), -1, cv2.LINE_AA)
    turn = cv2.getRotationMatrix2D((x, y - 25), degrees, size*SIDE/330)
    turn[:, 2] += (SIDE/2 - x, .42*SIDE - y + 25)
    return cv2.convertScaleAbs(cv2.warpAffine(masked, turn, (SIDE, SIDE), flags=cv2.INTER_AREA,
                                              borderMode=cv2.BORDER_REPLICATE), alpha=light)


def main():
    photo, recognizer = open_image(static_file('sample.jpg')), EmotionRecognizer()
    mouth, stream, shown = recognizer(photo)[0].landmarks[3], FaceStream(recognizer), []
    for i, state in enumerate(path()):
        image = frame(photo, mouth, *state)
        shown.append(draw_report(image, stream(image, i/RATE), height=HEIGHT))
    width = max(o.shape[1] for o in shown)
    pad = lambda o: cv2.copyMakeBorder(o, 0, 0, 0, width - o.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255))
    first, *rest = (Image.fromarray(cv2.cvtColor(pad(o), cv2.COLOR_BGR2RGB)) for o in shown)
    first.save(ROOT/'nbs/images/reading.webp', save_all=True, append_images=rest, duration=round(1000/RATE), loop=0,
               quality=45, method=6)


if __name__ == '__main__': main()
