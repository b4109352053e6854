"""Runs commands of `fer-nb` and blocks of Python in one process, so that TensorFlow is imported once.

Each line on stdin is a JSON request, {"folder", "words"} or {"folder", "code", "space"}; each line on stdout is the
answer, {"code", "said"}. Blocks with the same `space` share their names."""
import json
import os
import sys
import tempfile
import traceback

answers = os.fdopen(os.dup(1), 'w')
spaces = {}


def work(request):
    "Does what is asked for; an exit code."
    os.chdir(request['folder'])
    try:
        if 'words' in request:
            from fer_nb.cli.main import main
            sys.argv = request['words']
            main()
        else:
            names = spaces.setdefault(request['space'], {'__name__': request['space']})
            exec(compile(request['code'], request['space'], 'exec'), names)
    except SystemExit as e: return e.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


for line in sys.stdin:
    with tempfile.TemporaryFile('w+', errors='replace') as said:
        for stream in (1, 2): os.dup2(said.fileno(), stream)
        code = work(json.loads(line))
        sys.stdout.flush(), sys.stderr.flush()
        said.seek(0)
        print(json.dumps(dict(code=code, said=said.read())), file=answers, flush=True)
