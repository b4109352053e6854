"A Firefox that tests drive by WebDriver BiDi, which it speaks itself: Playwright wants a Firefox of its own."
import asyncio
import base64
import itertools
import json
import os
import re
import shutil
import subprocess
import threading

from tornado.websocket import websocket_connect

PREFERENCES = {
    'media.navigator.streams.fake': True, 'media.navigator.permission.disabled': True,     # a camera without faces
    'datareporting.policy.dataSubmissionEnabled': False, 'app.normandy.enabled': False,
    'browser.shell.checkDefaultBrowser': False, 'dom.disable_open_during_load': False,
}


def find():
    "The path of a Firefox, or None; the variable FIREFOX names one."
    return os.environ.get('FIREFOX') or next(filter(None, map(shutil.which, ('firefox', 'firefox-esr'))), None)


class Firefox:
    "One window. `evaluate` runs a script in its page and returns what its promise, or value, is as JSON."
    def __init__(self, path, profile):
        lines = [f'user_pref({json.dumps(k)}, {json.dumps(v)});' for k, v in PREFERENCES.items()]
        (profile/'user.js').write_text('\n'.join(lines))
        command = [path, '--headless', '--no-remote', '--profile', str(profile), '--remote-debugging-port', '0']
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        said = next(filter(None, (re.search(r'BiDi listening on (ws://\S+)', o) for o in self.process.stderr)))
        threading.Thread(target=self.process.stderr.read, daemon=True).start()              # or it would fill up
        self.loop, self.numbers = asyncio.new_event_loop(), itertools.count(1)              # Playwright has its own
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.socket = self.wait(self.connect(f'{said[1]}/session'))
        self.send('session.new', capabilities={})
        self.window = self.send('browsingContext.getTree')['contexts'][0]['context']

    def wait(self, work): return asyncio.run_coroutine_threadsafe(work, self.loop).result(180)

    async def connect(self, url): return await websocket_connect(url, max_message_size=1 << 28)

    def send(self, method, **params):
        "The result of a command. Raises what Firefox says of one that fails."
        number = next(self.numbers)
        return self.wait(self._send(number, json.dumps(dict(id=number, method=method, params=params))))

    async def _send(self, number, message):
        await self.socket.write_message(message)
        while (reply := json.loads(await self.socket.read_message())).get('id') != number: pass
        if reply['type'] == 'error': raise RuntimeError(reply['message'])
        return reply['result']

    def before(self, script):
        "Has each page that is opened from now on run this function first; what takes that back again."
        number = self.send('script.addPreloadScript', functionDeclaration=script)['script']
        return lambda: self.send('script.removePreloadScript', script=number)

    def resize(self, width, height):
        self.send('browsingContext.setViewport', context=self.window, viewport=dict(width=width, height=height))

    def shot(self, path):
        path.write_bytes(base64.b64decode(self.send('browsingContext.captureScreenshot', context=self.window)['data']))

    def choose(self, selector, *paths):
        "Files for an input, as its chooser would give them."
        found = self.send('browsingContext.locateNodes', context=self.window, locator=dict(type='css', value=selector))
        where = {k: found['nodes'][0][k] for k in ('sharedId',)}
        self.send('input.setFiles', context=self.window, element=where, files=[str(o) for o in paths])

    def goto(self, url): self.send('browsingContext.navigate', context=self.window, url=url, wait='complete')

    def evaluate(self, script, *arguments):
        "`script` is a function; its arguments are JSON, and so is its value."
        call = f'async () => JSON.stringify(await ({script})(...{json.dumps(arguments)}) ?? null)'
        reply = self.send('script.callFunction', functionDeclaration=call, awaitPromise=True,
                          target=dict(context=self.window))
        if 'exceptionDetails' in reply: raise RuntimeError(reply['exceptionDetails']['text'])
        return json.loads(reply['result']['value'])

    def stop(self):
        self.loop.call_soon_threadsafe(self.socket.close)
        self.process.terminate()
        self.process.wait(20)
