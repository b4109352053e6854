"""Facial-expression recognition: find the faces in a picture, and predict what people would say about each.

    from fer_nb import EmotionRecognizer, draw_faces

    recognizer = EmotionRecognizer()          # loads the default model once
    faces = recognizer('photo.jpg')           # a path, bytes, or a NumPy array in OpenCV's BGR order
    for face in faces: print(face.answer, face.confidence, face.box)

The names in `__all__` are all that most programs need. They are loaded when they are first used, so that the import
stays light. The packages behind them:

    core, emotions   what every package needs
    inference        detect, crop, classify and draw faces in pictures
    video            follow faces through films and cameras
    training         datasets, networks, training, evaluation, export
    apps             the dashboard, the HTTP API and its client, the JupyterLab widgets
    bench            measurements
    cli              the commands of `fer-nb`
"""
from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOME = {
    'Client': 'apps.client',
    'EmotionRecognizer': 'inference.recognize', 'Face': 'inference.recognize', 'FerError': 'core',
    'FaceStream': 'video.track', 'detect_faces': 'inference.detect', 'draw_faces': 'inference.draw',
    'list_models': 'inference.zoo', 'load_model': 'inference.zoo', 'open_image': 'inference.image',
    'read_pictures': 'inference.batch', 'video_faces': 'video.faces',
}
__all__ = [*_HOME]

if TYPE_CHECKING:  # what editors and type checkers read
    from .apps.client import Client
    from .core import FerError
    from .inference.batch import read_pictures
    from .inference.detect import detect_faces
    from .inference.draw import draw_faces
    from .inference.image import open_image
    from .inference.recognize import EmotionRecognizer, Face
    from .inference.zoo import list_models, load_model
    from .video.faces import video_faces
    from .video.track import FaceStream


def __getattr__(name):
    if name not in _HOME: raise AttributeError(f"module 'fer_nb' has no attribute {name!r}")
    from importlib import import_module
    value = globals()[name] = getattr(import_module(f'.{_HOME[name]}', __name__), name)
    return value


def __dir__(): return sorted([*globals(), *__all__])
