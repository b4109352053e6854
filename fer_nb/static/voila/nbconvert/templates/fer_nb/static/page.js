// The page around the widgets: takes the opening away when the first widget is there, and says what went wrong.
// It runs before Voila's own scripts, and leans on none of them.
(() => {
  const PATIENCE = 40000;      // ms from the end of the HTML to the first widget
  const EVERY = 5000;          // ms between two questions whether the kernel lives
  const opening = document.getElementById('opening');
  const step = opening.querySelector('.step');
  const lost = document.getElementById('lost');
  let shown = false, failed = false, base = '/', kernel = '';

  for (const button of document.querySelectorAll('.again')) button.addEventListener('click', () => location.reload());

  function fail(sentence) {
    if (shown || failed) return;
    failed = true;
    opening.classList.add('failed');
    step.textContent = sentence;
    opening.querySelector('.again').hidden = false;
  }

  // A widget is there when something of it can be seen: fer_nb's carry the class fer-nb.
  function look() {
    const seen = [...document.querySelectorAll('#rendered_cells .fer-nb')]
      .some(el => el.getBoundingClientRect().height > 0);
    if (!seen) return;
    shown = true;
    watcher.disconnect();
    performance.mark('fer-nb-shown');
    opening.classList.add('leaving');
    setTimeout(() => { opening.hidden = true; }, 300);
    document.dispatchEvent(new CustomEvent('fer-nb:shown'));
  }
  const watcher = new MutationObserver(() => { if (!shown) requestAnimationFrame(() => { if (!shown) look(); }); });
  watcher.observe(document.body, {childList: true, subtree: true});

  // The kernel of this page ends when it dies, when its page was out of reach for long, or with the server.
  function say(sentence, reload) {
    if (!shown) return sentence && reload ? fail(sentence) : undefined;
    if (lost.hidden && sentence) document.dispatchEvent(new CustomEvent('fer-nb:lost', {detail: sentence}));
    lost.hidden = !sentence;
    lost.firstElementChild.textContent = sentence;
    lost.lastElementChild.hidden = !reload;
  }
  let misses = 0;
  async function ask() {
    if (document.hidden || !kernel) return;
    if (document.querySelector('[data-camera=on][data-place=device]')) return;   // then nothing is asked of the server
    try {
      const answer = await fetch(`${base}health/${kernel}`, {cache: 'no-store', signal: AbortSignal.timeout(EVERY)});
      const {alive} = await answer.json();
      misses = 0;
      say(alive ? '' : "The program behind this page has ended.", true);
    } catch { if (++misses > 1) say("The connection is lost. Trying again.", false); }
  }
  document.addEventListener('visibilitychange', () => ask());

  // Voila ends the kernel of a page that is left, at beforeunload, which phones do not have.
  let left = false;
  window.addEventListener('beforeunload', () => { left = true; });
  window.addEventListener('pagehide', event => {
    if (left || event.persisted || !kernel) return;
    const form = new FormData();
    form.append('_xsrf', (document.cookie.match(/\b_xsrf=([^;]*)/) || [])[1] || '');
    navigator.sendBeacon(`${base}voila/api/shutdown/${kernel}`, form);
  });

  // JupyterLab's builder writes the version that an extension was built with into it as the least that it needs,
  // whatever the extension itself declares (^4.0.0 for those here), and the console would warn of each package of
  // Voila's older JupyterLab. So a package stands for every later one of its major version, too.
  function forLater(scope) {
    for (const [name, versions] of Object.entries(scope)) {
      const [version] = Object.keys(versions), later = version.replace(/[.].*/, '.999.0');
      if (name.startsWith('@jupyterlab/') && version !== later) scope[name] = {[later]: versions[version], ...versions};
    }
    return scope;
  }
  window._JUPYTERLAB = new Proxy({}, {
    set(all, name, part) {
      all[name] = part.init ? {get: part.get, init: scope => part.init(forLater(scope))} : part;
      return true;
    },
  });

  // What the template calls.
  window.voila_heartbeat = () => {};
  window.ferNb = {
    kernel: (url, id) => { base = url; kernel = id; },
    fail,
    end: () => {
      window.ferNb.ended = true;
      setInterval(ask, EVERY);
      const why = "a proxy in between may not pass websockets on";
      setTimeout(() => fail(`The page cannot reach the program behind it: ${why}.`), PATIENCE);
    },
  };
  document.addEventListener('DOMContentLoaded', () => {
    if (!window.ferNb.ended) fail("The program behind this page could not be started.");
  });
})();
